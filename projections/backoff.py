"""Waiting between tries, longer each time, with jitter."""

from __future__ import annotations

import asyncio
import random


class Backoff:
    """Waits of about 0.1 s, doubling up to 5 s; `reset` after a success."""

    FIRST_S = 0.1
    LONGEST_S = 5.0

    def __init__(self) -> None:
        self._next_s = self.FIRST_S

    def reset(self) -> None:
        self._next_s = self.FIRST_S

    async def wait(self) -> None:
        """Sleep until the next try."""
        delay_s = self._next_s * random.uniform(0.5, 1)  # noqa: S311 - spreads tries, guards nothing
        self._next_s = min(self._next_s * 2, self.LONGEST_S)
        await asyncio.sleep(delay_s)
