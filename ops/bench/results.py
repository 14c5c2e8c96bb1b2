"""What a bench found: figures with their floors and goals, as a table for people and JSON for programs."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

Better = Literal["higher", "lower"]


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing measured.

    Args:
        value: None if it could not be measured; `note` says why.
        floor: the bare yardstick of the same run.
        goal: what we want; `better` says on which side of it.
    """

    way: str
    name: str
    value: float | None
    unit: str
    floor: float | None = None
    floor_name: str = ""
    goal: float | None = None
    better: Better = "higher"
    note: str = ""

    def ratio(self) -> float | None:
        """Ours ÷ the floor."""
        return self.value / self.floor if self.value is not None and self.floor else None

    def of_goal(self) -> float | None:
        """At least 1 if the goal is reached."""
        if self.value is None or self.goal is None:
            return None
        if self.better == "higher":
            return self.value / self.goal
        return self.goal / self.value if self.value else None


class BenchReport(msgspec.Struct):
    """All figures of one run, and the machine they hold for."""

    started_at: datetime
    machine: dict[str, str]
    figures: list[Figure]
    cpu_us_per_reading: dict[str, dict[str, float]]
    """By way and scenario, then by process."""

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)


def new_report() -> BenchReport:
    """An empty report of this machine."""
    cpu = next((line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    machine = {"cpus": str(os.cpu_count()), "cpu": cpu, "python": platform.python_version(), "load before": load}
    return BenchReport(datetime.now(UTC), machine, [], {})


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def write_report(report: BenchReport, folder: Path) -> Path:
    """Write it as JSON, named after its instant; the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"bench-{report.started_at:%Y%m%d-%H%M%S}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return path


def show_report(report: BenchReport, console: Console) -> None:
    """Print the tables."""
    console.print("  ".join(f"{name} {value}" for name, value in report.machine.items()), highlight=False)
    for way in dict.fromkeys(figure.way for figure in report.figures):
        console.print(_figures_table(way, [figure for figure in report.figures if figure.way == way]))
    console.print(_cpu_table(report))


def _figures_table(way: str, figures: list[Figure]) -> Table:
    table = Table(title=way, title_justify="left")
    for name in ("what", "measured", "floor", "ours ÷ floor", "goal", "of goal"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for figure in figures:
        ratio, of_goal = figure.ratio(), figure.of_goal()
        table.add_row(
            figure.name + (f"\n[dim]{figure.note}[/dim]" if figure.note else ""),
            _number(figure.value, figure.unit),
            f"{_number(figure.floor, '')} {figure.floor_name}" if figure.floor else "",
            f"{ratio:.2f}" if ratio is not None else "",
            _number(figure.goal, figure.unit) if figure.goal is not None else "",
            "" if of_goal is None else f"[{'green' if of_goal >= 1 else 'red'}]{of_goal:.2f}[/]",
        )
    return table


def _cpu_table(report: BenchReport) -> Table:
    table = Table(title="CPU-µs per reading, by process", title_justify="left")
    columns = list(report.cpu_us_per_reading)
    names = dict.fromkeys(name for by_name in report.cpu_us_per_reading.values() for name in by_name)
    for name in ("process", *columns):
        table.add_column(name, justify="left" if name == "process" else "right")
    for name in names:
        table.add_row(name, *(_number(report.cpu_us_per_reading[column].get(name), "") for column in columns))
    sums = [sum(report.cpu_us_per_reading[column].values()) for column in columns]
    table.add_row("all", *(_number(total, "") for total in sums), style="bold")
    return table


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    digits = 0 if value >= 100 else 1
    return f"{value:,.{digits}f} {unit}".rstrip()
