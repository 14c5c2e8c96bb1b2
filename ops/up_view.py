"""What `wattaway up` shows: the children, the rates, the devices, what went wrong; for a terminal or as plain lines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.figures import Figures, Rates
from ops.role_logs import Complaint
from ops.supervisor import State, Supervised

_COLOURS: Mapping[State, str] = {
    State.WAITING: "dim",
    State.STARTING: "yellow",
    State.RUNNING: "green",
    State.BACKING_OFF: "bold red",
    State.STOPPING: "yellow",
    State.STOPPED: "dim",
}


@dataclass(frozen=True)
class View:
    """One look at everything."""

    title: str
    children: Sequence[Supervised]
    figures: Figures
    rates: Rates
    devices_online: int | None
    errors: int
    warnings: int
    complaints: Sequence[Complaint]


def render(view: View) -> RenderableType:
    """The screen of a terminal."""
    parts: list[RenderableType] = [Text(view.title, style="bold"), _children(view.children), _numbers(view)]
    for complaint in view.complaints:
        style = "red" if complaint.is_error else "yellow"
        parts.append(Text(f"{complaint.role}: {complaint.text}", style=style, overflow="ellipsis", no_wrap=True))
    return Group(*parts, Text("Ctrl-C stops everything cleanly.", style="dim"))


def plain_line(view: View) -> str:
    """One line for a log file."""
    running = sum(child.state is State.RUNNING for child in view.children)
    restarts = sum(child.restarts for child in view.children)
    return (
        f"{running}/{len(view.children)} run, {restarts} restarts | received {number(view.figures.received)}"
        f" ({number(view.rates.received_per_s)}/s) | projected {number(view.figures.projected)}"
        f" ({number(view.rates.projected_per_s)}/s) | lag {number(view.figures.lag)}"
        f" | visible after p50 {milliseconds(view.rates.p50_s)} p99 {milliseconds(view.rates.p99_s)}"
        f" | online {number(view.devices_online)} | dead letters {number(view.figures.dead_letters)}"
        f" | errors {view.errors}, warnings {view.warnings}"
    )


def number(value: float | None) -> str:
    """`12,345`, `0.4`, or `-` where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"≤{seconds * 1000:,.0f} ms"


def _children(children: Sequence[Supervised]) -> Table:
    table = Table("what", "state", "pid", "for", "restarts", "last end", box=None, pad_edge=False)
    for child in children:
        seconds = int(time.monotonic() - child.since)
        pid = child.child.pid if child.child.is_running() else None
        table.add_row(
            child.spec.name,
            Text(child.state, style=_COLOURS[child.state]),
            str(pid or ""),
            f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}",
            str(child.restarts or ""),
            Text(child.last_exit, overflow="ellipsis", no_wrap=True),
        )
    return table


def _numbers(view: View) -> Table:
    figures, per_second = view.figures, view.rates
    table = Table("readings/s in", "projected/s", "lag", "visible p50", "p99", "online", "dead letters", "errors")
    table.add_row(
        number(per_second.received_per_s),
        number(per_second.projected_per_s),
        number(figures.lag),
        milliseconds(per_second.p50_s),
        milliseconds(per_second.p99_s),
        number(view.devices_online),
        number(figures.dead_letters),
        Text(str(view.errors), style="bold red" if view.errors else ""),
    )
    return table
