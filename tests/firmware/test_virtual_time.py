"""Virtual time: days in a second, timers on the way, and a loop that is late does not delay them."""

from __future__ import annotations

from pathlib import Path

from tests.firmware.micropython import run

TWO_TASKS = """
import asyncio, json, hal, virtual_time

told = []
fired = [0]

async def every(period_ms, times, name):
    for _ in range(times):
        await asyncio.sleep_ms(period_ms)
        told.append([name, hal.board.elapsed_ms()])

def count():
    fired[0] += 1

async def main():
    hal.Timer(0).start(100, count)
    slow = asyncio.create_task(every(86_400_000, 3, "slow"))
    await every(100_000_000, 2, "fast")
    await slow
    try:
        await asyncio.wait_for_ms(asyncio.Event().wait(), 500)
    except asyncio.TimeoutError:
        told.append(["timeout", hal.board.elapsed_ms()])

virtual_time.run(main())
print(json.dumps([told, fired[0]]))
"""


def test_tasks_and_timers_run_at_their_virtual_times(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TWO_TASKS)
    day = 86_400_000
    [[told, fired]] = run(script)
    assert told == [
        ["slow", day],
        ["fast", 100_000_000],
        ["slow", 2 * day],
        ["fast", 200_000_000],
        ["slow", 3 * day],
        ["timeout", 3 * day + 500],
    ]
    assert fired == (3 * day + 500) // 100
