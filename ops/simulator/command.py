"""`wattaway simulate`: run a fleet against the broker of the settings, say what came of it, remember the counters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

from rich.console import Console
from rich.table import Table

from domain.errors import SettingInvalid
from ops.credentials import device_token, fleet_secret
from ops.settings import Settings
from ops.simulator.fleet import Fleet, SimulationPlan, SimulationReport
from ops.simulator.socket_device import Endpoint

COUNTERS_FILE = "simulated-counters.json"


def run_simulation(settings: Settings, plan: SimulationPlan) -> int:
    """Simulate until the plan is done (or SIGINT, SIGTERM); 0 if every reading was receipted, else 1.

    Raises:
        SettingInvalid: a plan that cannot be, or a data dir that cannot be written.
    """
    check_plan(plan)
    secret = fleet_secret(settings.data_dir)
    counters_path = settings.data_dir / COUNTERS_FILE
    report = asyncio.run(_simulate(settings, plan, secret, counters_path))
    save_counters(counters_path, report.energy_mwh)
    show_report(report)
    return 0 if report.complete else 1


def check_plan(plan: SimulationPlan) -> None:
    """Raise `SettingInvalid` for numbers that make no fleet."""
    if plan.sockets < 1 or plan.interval_s <= 0:
        raise SettingInvalid("a simulation needs at least one socket and an interval of more than 0 s")
    if plan.readings is not None and plan.readings < 1:
        raise SettingInvalid("--readings must be at least 1")


async def _simulate(settings: Settings, plan: SimulationPlan, secret: bytes, counters: Path) -> SimulationReport:
    fleet = Fleet(
        plan,
        Endpoint(settings.mqtt_host, settings.mqtt_port),
        lambda device_id: device_token(secret, device_id),
        energy_mwh=load_counters(counters),
        remember=lambda energy_mwh: save_counters(counters, energy_mwh),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, fleet.stop)
    return await fleet.run()


def load_counters(path: Path) -> dict[str, int]:
    """The lifetime counters where the last simulation left them; none if there was none."""
    with contextlib.suppress(OSError, ValueError):
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {str(device): int(energy) for device, energy in stored.items()}
    return {}


def save_counters(path: Path, energy_mwh: dict[str, int]) -> None:
    """Store the counters, those of other simulations kept; readers see the old file or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(load_counters(path) | energy_mwh), encoding="utf-8")
    draft.replace(path)


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
