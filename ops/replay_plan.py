"""What to replay and what came of it: the plan, its two spellings on the command line, and the report."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from domain.errors import SettingInvalid
from ops.simulator.socket_device import LinkTiming

WINDOW_READINGS = 40_000
DEVICE_WINDOW_READINGS = 10_000


@dataclass(frozen=True)
class ReplayPlan:
    """What to replay.

    Args:
        speed: 1 is as it was measured, 60 a minute per second, None as fast as receipts come.
        shift_ms: added to every instant; None moves the first row to now.
        window_readings: so many without a receipt, and the file is read no further.
        device_window_readings: the same for one device; it bounds the size of a receipt.
        drain_s: how long to wait for a receipt when none comes.
    """

    path: Path
    speed: float | None = None
    shift_ms: int | None = 0
    drain_s: float = 30.0
    window_readings: int = WINDOW_READINGS
    device_window_readings: int = DEVICE_WINDOW_READINGS
    timing: LinkTiming = field(default_factory=LinkTiming)


@dataclass(frozen=True)
class ReplayReport:
    """What became of the rows."""

    rows: int
    devices: int
    sent: int
    receipted: int
    outstanding: int
    errors: int
    errors_by_column: dict[str, int]
    stopped: bool
    last_refusal: str
    seconds: float

    @property
    def complete(self) -> bool:
        """Every line was taken and every reading receipted."""
        return not (self.errors or self.outstanding or self.stopped)


def parse_speed(text: str) -> float | None:
    """`max` as None, else a positive factor.

    Raises:
        SettingInvalid: neither.
    """
    if text == "max":
        return None
    with contextlib.suppress(ValueError):
        if 0 < (speed := float(text)) < float("inf"):
            return speed
    raise SettingInvalid(f"--speed {text!r} is neither `max` nor a number above 0")


_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_shift(text: str) -> int | None:
    """`now` as None, else ms: a number with a unit, such as `-90m`, `36h`, `+3650d`.

    Raises:
        SettingInvalid: neither.
    """
    if text == "now":
        return None
    with contextlib.suppress(ValueError, OverflowError):
        if text == "0":
            return 0
        if text[-1:] in _UNITS_MS:
            return round(float(text[:-1]) * _UNITS_MS[text[-1]])
    raise SettingInvalid(f"--shift {text!r} is neither `now` nor a time such as -90m, 36h or 3650d")


def show_report(plan: ReplayPlan, report: ReplayReport) -> None:
    """Print what became of the rows."""
    table = Table("", "count", title=f"{plan.path.name}: {report.devices} sockets, {report.seconds:.1f} s")
    table.add_row("rows taken", f"{report.rows:,}")
    table.add_row("readings sent (with resends)", f"{report.sent:,}")
    table.add_row("in the log (receipt)", f"{report.receipted:,}")
    table.add_row("outstanding", f"{report.outstanding:,}", style="bold red" if report.outstanding else None)
    for column, count in sorted(report.errors_by_column.items()):
        table.add_row(f"lines refused for {column}", f"{count:,}", style="bold red")
    console = Console()
    console.print(table)
    if report.outstanding:
        why = report.last_refusal or "no receipt came in time: is the bridge running?"
        console.print(f"[red]{why}[/red]")
