"""Runs asyncio in virtual time: whenever every task waits, the board's clock jumps to the next one that is due.

Timers of the simulated HAL fire on the way, at their time. Sockets are polled but not waited for, so this is for tests
without a network. Days pass in seconds. A deadlock spins for ever, as in MicroPython's own loop: the runner's time-out
ends it.
"""

import asyncio
import time
from asyncio import core

from hal import board

# The loop's C part stamps new tasks with the machine's clock: being far ahead of it makes them due at once.
_AHEAD_MS = 1 << 40
_ORIGIN_MS = time.ticks_ms() + _AHEAD_MS


class _Waiting(core.IOQueue):
    def wait_io_event(self, dt: int) -> None:
        """Let `dt` ms pass instead of waiting for them; without a due task wait for sockets alone."""
        if dt > 0:
            board.advance(dt)
        super().wait_io_event(1 if dt < 0 else 0)


def run(coroutine: "object") -> "object":
    """Return what `coroutine` returns; the board's clock then stands where it ended."""
    if board.virtual_ms is None:
        board.use_virtual_clock()
    core.ticks = lambda: _ORIGIN_MS + board.virtual_ms
    core._io_queue = _Waiting()
    return asyncio.run(coroutine)
