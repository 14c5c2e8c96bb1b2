"""What `wattaway up` shows: each child, each figure, each complaint; in place in a terminal, line by line elsewhere."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ops import up_screen
from ops.backoff import Backoff
from ops.child import Child, ChildSpec
from ops.figures import Figures, Rates
from ops.role_logs import Complaint
from ops.supervisor import State, Supervised
from ops.up_screen import show
from ops.up_view import View, milliseconds, number, plain_line, render

BUSY = View(
    title="WattAway runs in /srv/wattaway",
    children=(),
    figures=Figures(at_s=1, received=123_456, projected=123_400, lag=56, dead_letters=7),
    rates=Rates(received_per_s=2_345.6, projected_per_s=2_340, p50_s=0.025, p99_s=0.1),
    devices_online=1_234,
    errors=3,
    warnings=9,
    complaints=(Complaint("bridge", False, "reading rejected field=[power]"), Complaint("api", True, "kafka is away")),
)
SILENT = View(
    title="starting",
    children=(),
    figures=Figures(at_s=1),
    rates=Rates(None, None, None, None),
    devices_online=None,
    errors=0,
    warnings=0,
    complaints=(),
)


def supervised(folder: Path, name: str, state: State, *, restarts: int = 0, last_exit: str = "") -> Supervised:
    argv = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
    child = Child(ChildSpec(name, argv, folder / f"{name}.log", is_ready=lambda: True))
    return Supervised(child, Backoff(), state, restarts, last_exit=last_exit)


@contextmanager
def running(one: Supervised) -> Iterator[int]:
    """Its process id while it runs."""
    one.child.spawn()
    try:
        assert one.child.pid is not None
        yield one.child.pid
    finally:
        one.child.kill()


def screen(view: View, *, width: int = 120) -> list[str]:
    """The screen's lines, without their colours."""
    console = Console(file=StringIO(), width=width)
    with console.capture() as shown:
        console.print(render(view))
    return shown.get().splitlines()


def cells(line: str) -> list[str]:
    """A child's columns; its seconds are left out, as time goes on meanwhile."""
    return re.split(r"\s{2,}", re.sub(r"(\d+:\d\d):\d\d", r"\1:..", line.strip()))


def line_of(lines: Sequence[str], start: str) -> str:
    (found,) = (line for line in lines if line.startswith(start))
    return found


def test_each_child_is_shown_with_its_state_process_and_restarts(tmp_path: Path) -> None:
    bridge = supervised(tmp_path, "bridge", State.RUNNING, restarts=2, last_exit="killed by SIGKILL")
    relay = supervised(tmp_path, "relay", State.BACKING_OFF, restarts=5, last_exit="exit code 1")
    api = supervised(tmp_path, "api", State.WAITING)
    bridge.since -= 3_725
    with running(bridge) as pid:
        lines = screen(replace(BUSY, children=(bridge, relay, api)))
    assert cells(line_of(lines, "bridge ")) == ["bridge", "running", str(pid), "1:02:..", "2", "killed by SIGKILL"]
    assert cells(line_of(lines, "relay ")) == ["relay", "backing off", "0:00:..", "5", "exit code 1"]
    assert cells(line_of(lines, "api ")) == ["api", "waiting", "0:00:.."]


def test_a_child_that_is_gone_is_shown_without_a_process(tmp_path: Path) -> None:
    bridge = supervised(tmp_path, "bridge", State.BACKING_OFF)
    with running(bridge):
        pass
    lines = screen(replace(BUSY, children=(bridge,)))
    assert cells(line_of(lines, "bridge ")) == ["bridge", "backing off", "0:00:.."]


def figures_shown(view: View) -> dict[str, str]:
    lines = screen(view)
    head = next(at for at, line in enumerate(lines) if "readings/s in" in line)
    row = next(line for line in lines[head + 1 :] if re.search(r"[\d-]", line))
    names, values = (re.split(r"\s*[│┃]\s*", line.strip("│┃ ")) for line in (lines[head], row))
    return dict(zip(names, (value.strip() for value in values), strict=True))


def test_the_figures_stand_under_their_names() -> None:
    assert figures_shown(BUSY) == {
        "readings/s in": "2,346",
        "projected/s": "2,340",
        "lag": "56",
        "visible p50": "≤25 ms",
        "p99": "≤100 ms",
        "online": "1,234",
        "dead letters": "7",
        "errors": "3",
    }


def test_where_nobody_answers_a_dash_stands_and_no_zero() -> None:
    assert figures_shown(SILENT) == {**dict.fromkeys(figures_shown(BUSY), "-"), "errors": "0"}


def test_complaints_are_shown_as_they_were_said_each_on_one_line() -> None:
    lines = screen(replace(BUSY, complaints=(*BUSY.complaints, Complaint("relay", True, "x" * 500))))
    assert lines[0] == BUSY.title
    assert "bridge: reading rejected field=[power]" in [line.rstrip() for line in lines]
    assert "api: kafka is away" in [line.rstrip() for line in lines]
    assert line_of(lines, "relay: x").rstrip().endswith("…")
    assert lines[-1].rstrip() == "Ctrl-C stops everything cleanly."


def test_the_screen_of_a_narrow_terminal_is_no_wider_than_that(tmp_path: Path) -> None:
    child = supervised(tmp_path, "dispatcher", State.RUNNING, restarts=12, last_exit="killed by SIGKILL " * 5)
    assert max(map(len, screen(replace(BUSY, children=(child,)), width=80))) <= 80


def test_a_log_file_gets_all_of_it_in_one_line(tmp_path: Path) -> None:
    children = [
        supervised(tmp_path, "bridge", State.RUNNING, restarts=2),
        supervised(tmp_path, "relay", State.BACKING_OFF, restarts=5),
    ]
    assert plain_line(replace(BUSY, children=children)) == (
        "1/2 run, 7 restarts | received 123,456 (2,346/s) | projected 123,400 (2,340/s) | lag 56"
        " | visible after p50 ≤25 ms p99 ≤100 ms | online 1,234 | dead letters 7 | errors 3, warnings 9"
    )
    assert plain_line(SILENT) == (
        "0/0 run, 0 restarts | received - (-/s) | projected - (-/s) | lag -"
        " | visible after p50 - p99 - | online - | dead letters - | errors 0, warnings 0"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0, "0"), (0.4, "0.4"), (3, "3"), (9.94, "9.9"), (10.4, "10"), (12_345, "12,345")],
)
def test_small_numbers_have_a_decimal_and_great_ones_have_commas(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_a_latency_is_told_by_the_edge_below_which_it_lies() -> None:
    assert [milliseconds(seconds) for seconds in (None, 0.005, 30.0)] == ["-", "≤5 ms", "≤30,000 ms"]


class Looks:
    """Looks that are told apart by their titles and figures; the last one before `done` sets it."""

    def __init__(self, done: asyncio.Event, until_done: int) -> None:
        self.count = 0
        self._done, self._until_done = done, until_done

    async def __call__(self) -> View:
        self.count += 1
        if self.count == self._until_done:
            self._done.set()
        return replace(SILENT, title=f"look {self.count}", errors=self.count)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_screen, "REFRESH_S", 0.01)
    monkeypatch.setattr(up_screen, "PLAIN_EVERY_S", 0.01)


@pytest.mark.usefixtures("quick")
async def test_a_terminal_is_drawn_anew_until_done_and_the_last_look_stays() -> None:
    done, said = asyncio.Event(), StringIO()
    looks = Looks(done, until_done=3)
    async with asyncio.timeout(60):
        await show(Console(file=said, force_terminal=True, width=120), looks, done)
    assert looks.count == 4
    places = [said.getvalue().rindex(f"look {number}") for number in range(1, 5)]
    assert places == sorted(places)
    assert said.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is hidden still"


@pytest.mark.usefixtures("quick")
async def test_elsewhere_a_line_is_written_now_and_then_until_done() -> None:
    done, said = asyncio.Event(), StringIO()
    async with asyncio.timeout(60):
        await show(Console(file=said, width=40), Looks(done, until_done=3), done)
    lines = said.getvalue().splitlines()
    assert [line.rpartition(" | ")[2] for line in lines] == [f"errors {n}, warnings 0" for n in (1, 2, 3)]
    assert "\x1b" not in said.getvalue()


@pytest.mark.parametrize(("terminal", "looks_taken"), [(True, 1), (False, 0)])
async def test_what_is_done_already_is_not_waited_for(terminal: bool, looks_taken: int) -> None:
    done = asyncio.Event()
    done.set()
    looks = Looks(done, until_done=99)
    async with asyncio.timeout(60):
        await show(Console(file=StringIO(), force_terminal=terminal), looks, done)
    assert looks.count == looks_taken
