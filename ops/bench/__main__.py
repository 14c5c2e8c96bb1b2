"""`python -m ops.bench`: measure both ways to run, against bare floors in the same run."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from domain.errors import WattAwayError
from ops.bench.floors import Floors, measure_floors
from ops.bench.results import BenchReport, new_report, show_report, write_report
from ops.bench.scenarios import LATENCY_GOAL_MS, LATENCY_RATE_PER_S, Scale, Scenarios
from ops.bench.ways import Way, embedded_way, stack_way
from ops.stack.packages import SERVERS, missing_packages

WAYS: dict[str, Callable[[Path], AbstractContextManager[Way]]] = {"embedded": embedded_way, "stack": stack_way}
PARTS = ("floors", "rest", "sustained", "backlog", "latency", "api", "access", "commands", "firmwares", "rebuild")
# Tables are wide: where nobody says how wide the screen is, they get the room.
console = Console(width=None if sys.stdout.isatty() else 170)
app = typer.Typer(add_completion=False)


@app.command()
def bench(
    way: Annotated[list[str] | None, typer.Option(help="embedded or stack; by default both, as far as there.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"Some of: {', '.join(PARTS)}.")] = None,
    seconds: Annotated[float, typer.Option(min=2, help="How long each thing is measured.")] = 15.0,
    devices: Annotated[int, typer.Option(min=1, max=20_000, help="Connections of the load generator.")] = 100,
    burst: Annotated[int, typer.Option(min=1, help="Readings a device sends before it is the next one's turn.")] = 4,
    partitions: Annotated[int, typer.Option(min=1, max=256, help="Of each topic.")] = 4,
    projectors: Annotated[int, typer.Option(min=1, max=16, help="Processes that share the partitions.")] = 1,
    folder: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("bench-results"),
) -> None:
    """Readings a second end to end, CPU of every process, latencies, the API, a rebuild; next to bare floors.

    Examples:  python -m ops.bench   ·   python -m ops.bench --way embedded --only sustained --seconds 5 --projectors 2
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    report, parts = new_report(), only or list(PARTS)
    _check(way or [], WAYS, "--way")
    _check(parts, PARTS, "--only")
    scale = Scale(seconds, devices, burst, partitions, projectors)
    failures = [
        failure for name in way or _available() if (failure := _measured(name, scale, parts, report)) is not None
    ]
    show_report(report, console)
    console.print(f"written to {write_report(report, folder)}")
    if failures:
        console.print(*(f"[red]bench: {failure}[/red]" for failure in failures), sep="\n")
        raise typer.Exit(1)


def _measured(name: str, scale: Scale, parts: list[str], report: BenchReport) -> str | None:
    """Why a way could not be measured to the end; what was measured until then is in the report."""
    console.print(f"measuring {name}: {', '.join(parts)} …")
    try:
        with tempfile.TemporaryDirectory(prefix="wattaway-bench-") as scratch, WAYS[name](Path(scratch)) as running:
            _measure(running, scale, parts, report, Path(scratch))
    except WattAwayError as error:
        return f"{name}: {error}"
    return None


def _measure(way: Way, scale: Scale, parts: list[str], report: BenchReport, scratch: Path) -> None:
    floors = Floors()
    way = replace(way, env={**way.env, "WATTAWAY_KAFKA_PARTITIONS": str(scale.partitions)})
    device_ids = Scenarios(way, {}, scale, report).device_ids
    way.tokens(device_ids)
    if "floors" in parts:
        floors = asyncio.run(measure_floors(way, device_ids, scratch))
    with way.roles("bridge", "projector", "relay", "dispatcher", "api", projectors=scale.projectors) as roles:
        asyncio.run(_run_parts(Scenarios(way, roles, scale, report), parts))
    if "rebuild" in parts:
        asyncio.run(Scenarios(way, {}, scale, report).rebuild())
    floors.attach(way.name, report)


async def _run_parts(scenarios: Scenarios, parts: list[str]) -> None:
    if "rest" in parts:
        await scenarios.rest()
    sustained_per_s = 2 * LATENCY_RATE_PER_S
    at_rate = f"{LATENCY_RATE_PER_S:,.0f}/s"
    if "latency" in parts:
        # The first load of all: nothing is compiled, connected or cached yet.
        await scenarios.latency(LATENCY_RATE_PER_S, f"{at_rate}, cold", None)
    if "sustained" in parts:
        sustained_per_s = await scenarios.sustained()
    if "backlog" in parts:
        await scenarios.backlog()
    if "latency" in parts:
        await scenarios.latency(LATENCY_RATE_PER_S, f"{at_rate}, warm", LATENCY_GOAL_MS)
        await scenarios.latency(sustained_per_s / 2, f"half of sustained ({sustained_per_s / 2:,.0f}/s)", None)
    if "api" in parts:
        await scenarios.api()
    if "access" in parts:
        await scenarios.access()
    if "commands" in parts:
        await scenarios.commands()
    if "firmwares" in parts:
        await scenarios.firmwares()


def _available() -> list[str]:
    missing = missing_packages(SERVERS)
    if missing:
        console.print(f"[yellow]stack left out: not installed: {', '.join(missing)} (`make stack`)[/yellow]")
    return ["embedded"] if missing else ["embedded", "stack"]


def _check(names: list[str], allowed: Iterable[str], option: str) -> None:
    for name in names:
        if name not in allowed:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(allowed)}", param_hint=option)


def main() -> None:
    """Run the command; what goes wrong is one line."""
    try:
        app()
    except WattAwayError as error:
        console.print(f"[red]bench: {error}[/red]")
        sys.exit(1)


if __name__ == "__main__":
    main()
