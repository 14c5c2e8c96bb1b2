"""`wattaway simulate`: run a fleet against the broker of the settings, say what came of it, remember the counters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from domain.errors import SettingInvalid
from ops.mqtt_tls import mqtt_tls
from ops.registering import registration
from ops.settings import Settings
from ops.simulator.fleet import Fleet, SimulationPlan, SimulationReport, device_kinds
from ops.simulator.socket_device import Endpoint

log = structlog.get_logger()

COUNTERS_FILE = "simulated-counters.json"


def run_simulation(settings: Settings, plan: SimulationPlan) -> int:
    """Simulate until the plan is done (or SIGINT, SIGTERM); 0 if every reading was receipted, else 1.

    Raises:
        SettingInvalid: a plan that cannot be, or a data dir that cannot be written.
    """
    check_plan(plan)
    tokens = _registered(settings, plan)
    counters_path = settings.data_dir / COUNTERS_FILE
    report = asyncio.run(_simulate(settings, plan, tokens, counters_path))
    save_counters(counters_path, report.energy_mwh)
    show_report(report)
    return 0 if report.complete else 1


def check_plan(plan: SimulationPlan) -> None:
    """Raise `SettingInvalid` for numbers that make no fleet."""
    if plan.sockets < 1 or plan.interval_s <= 0:
        raise SettingInvalid("a simulation needs at least one socket and an interval of more than 0 s")
    if plan.readings is not None and plan.readings < 1:
        raise SettingInvalid("--readings must be at least 1")


def _registered(settings: Settings, plan: SimulationPlan) -> dict[str, str]:
    """The tokens of the sockets that can take part; says why the others do not.

    Raises:
        SettingInvalid: none can.
    """
    with registration(settings) as registering:
        tokens, refused = registering.tokens(device_id for device_id, _kind in device_kinds(plan))
    for device_id, why in refused.items():
        log.warning("socket left out", device_id=device_id, why=why)
    if not tokens:
        device_id, why = next(iter(refused.items()))
        raise SettingInvalid(f"none of {plan.sockets} sockets can be simulated: {device_id} {why}")
    return tokens


async def _simulate(
    settings: Settings, plan: SimulationPlan, tokens: Mapping[str, str], counters: Path
) -> SimulationReport:
    fleet = Fleet(
        plan,
        Endpoint(settings.mqtt_host, settings.mqtt_port, mqtt_tls(settings)),
        tokens.__getitem__,
        left_out={device_id for device_id, _kind in device_kinds(plan) if device_id not in tokens},
        energy_mwh=load_counters(counters),
        remember=lambda energy_mwh: save_counters(counters, energy_mwh),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, fleet.stop)
    return await fleet.run()


def load_counters(path: Path) -> dict[str, int]:
    """The lifetime counters where the last simulation left them; none, said loudly, where the file holds none."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {str(device): int(energy) for device, energy in stored.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.warning("no counters to go on from: the sockets' begin anew", file=str(path), why=str(error))
        return {}


def save_counters(path: Path, energy_mwh: dict[str, int]) -> None:
    """Store the counters, those of other simulations kept; readers see the old file or the new one.

    On a full disk they stay as they were stored last, which the log says: a simulation goes on without.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(load_counters(path) | energy_mwh), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        log.warning("counters not stored", file=str(path), why=str(error))
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def show_report(report: SimulationReport) -> None:
    """Print what became of the readings."""
    table = Table("", "readings", title=f"{report.sockets} simulated sockets, {report.seconds:.0f} s")
    for name, count in (
        ("measured", report.measured),
        ("sent (with resends)", report.sent),
        ("taken by the broker (PUBACK)", report.pubacked),
        ("in the log (receipt)", report.receipted),
        ("outstanding", report.outstanding),
    ):
        table.add_row(name, f"{count:,}", style="bold red" if name == "outstanding" and count else None)
    console = Console()
    console.print(table)
    if report.outstanding and report.last_refusal:
        console.print(f"[red]{report.refusals} connections failed, the last one: {report.last_refusal}[/red]")
    elif report.outstanding:
        console.print("[red]no receipt came for them in time: is the bridge running?[/red]")
