"""A replay's pace: no row before its turn, and nobody waits for a row that is no longer wanted.

No server is needed: what cannot be sent waits in the sockets' outboxes, and is told as outstanding.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ops.embedded.ports import free_ports
from ops.replay import _replay
from ops.replay_plan import ReplayPlan, ReplayReport
from tests.servers import settings_from
from tests.waiting import until

ReplayOf = Callable[..., Coroutine[Any, Any, ReplayReport]]


@pytest.fixture
def replay_of(tmp_path: Path) -> ReplayOf:
    """Replays rows (s into the trace, device id), the first of which was measured an hour ago."""
    settings = settings_from({"WATTAWAY_MQTT_PORT": str(free_ports(1)[0])})
    path, began_at_s = tmp_path / "trace.csv", int(time.time()) - 3_600

    def of(*rows: tuple[float, str], speed: float, token_of: Callable[[str], str] = lambda _device_id: "x") -> Any:
        lines = (f"{began_at_s + into_s},{device_id},5" for into_s, device_id in rows)
        path.write_text("\n".join(["ts,device_id,power_w", *lines]))
        return _replay(settings, ReplayPlan(path, speed=speed, drain_s=0.01), token_of)

    return of


async def test_twenty_times_as_fast_takes_a_twentieth_of_the_traces_span(replay_of: ReplayOf) -> None:
    report = await replay_of((0, "d1"), (2, "d2"), (6, "d1"), speed=20)
    assert report.seconds >= 6 / 20
    assert (report.rows, report.devices, report.outstanding, report.errors) == (3, 2, 3, 0)


async def test_each_row_waits_for_its_own_turn(replay_of: ReplayOf) -> None:
    due_s: list[float] = []

    def token_of(_device_id: str) -> str:
        due_s.append(time.monotonic())  # A token is asked for when a device's first row is due.
        return "x"

    started_s = time.monotonic()
    await replay_of((0, "d0"), (1, "d1"), (2, "d2"), (3, "d3"), speed=20, token_of=token_of)
    assert len(due_s) == 4
    assert all(at_s - started_s >= number / 20 for number, at_s in enumerate(due_s))


async def test_a_stop_ends_the_wait_for_a_row_that_is_due_in_a_quarter_of_an_hour(replay_of: ReplayOf) -> None:
    asked: list[str] = []

    def token_of(device_id: str) -> str:
        asked.append(device_id)
        return "x"

    async with asyncio.timeout(60):
        replaying = asyncio.create_task(replay_of((0, "d1"), (0.1, "d2"), (900, "d3"), speed=1, token_of=token_of))
        await until(lambda: asked == ["d1", "d2"])
        os.kill(os.getpid(), signal.SIGTERM)
        report = await replaying
    assert report.stopped
    assert not report.complete
    assert asked == ["d1", "d2"]
