"""Runs asyncio in the machine's time, with the timers of the simulated HAL: they fire whenever the loop waits.

So they are as punctual as the loop is. Tests of a loop that is late run in virtual time.
"""

import asyncio
from asyncio import core

from hal import board


class _Waiting(core.IOQueue):
    def wait_io_event(self, dt: int) -> None:
        """Wait for a socket or the next task, and fire the timers that become due on the way."""
        left_ms = board.until_next_timer_ms()
        if left_ms is not None:
            dt = left_ms if dt < 0 else min(dt, left_ms)
        super().wait_io_event(dt)
        board.fire_due_timers()


def run(coroutine: "object") -> "object":
    """Return what `coroutine` returns."""
    core._io_queue = _Waiting()
    return asyncio.run(coroutine)
