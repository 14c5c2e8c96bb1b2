"""An answer that is expensive to find and good for a few seconds: found once, however many ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class KeptFor(Generic[Answer]):
    """`find()`'s answer, at most `seconds` old; while it is being found, others wait for the same one.

    An error is not kept.
    """

    def __init__(self, find: Callable[[], Awaitable[Answer]], seconds: float) -> None:
        self._find = find
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._kept: tuple[float, Answer] | None = None

    async def get(self) -> Answer:
        async with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] > self._seconds:
                answer = await self._find()
                self._kept = (time.monotonic(), answer)
            return self._kept[1]
