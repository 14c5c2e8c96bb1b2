"""What one live client still has to be sent: bounded, the oldest given up first, and the client told how many.

A client that reads slowly therefore costs a bounded amount of memory and nobody else's time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import msgspec

from api.metrics import LIVE_MISSED

MAX_QUEUED_ITEMS = 5000


class _Named(msgspec.Struct, gc=False):
    device_id: str


_decode_name = msgspec.json.Decoder(_Named).decode


class LiveMessage:
    """One projected batch: the documents of some readings, or of some presence changes."""

    def __init__(self, kind: str, items: Sequence[bytes], position: int) -> None:
        self.kind = kind
        self.items = items
        self.position = position
        """How many items the feed had carried after this message."""

    @cached_property
    def device_ids(self) -> list[str]:
        return [_decode_name(item).device_id for item in self.items]

    def only(self, device_ids: frozenset[str]) -> LiveMessage | None:
        """The part about these devices; None if there is none."""
        items = [item for item, name in zip(self.items, self.device_ids, strict=True) if name in device_ids]
        return LiveMessage(self.kind, items, self.position) if items else None


class Viewer(Protocol):
    """Whoever a queue is for."""

    @property
    def device_ids(self) -> frozenset[str]:
        """What they may see and asked for, as of this moment."""


class LiveQueue:
    """Messages on their way to one client."""

    def __init__(self, viewer: Viewer, *, max_items: int = MAX_QUEUED_ITEMS) -> None:
        self._viewer = viewer
        self._max_items = max_items
        self._messages: deque[LiveMessage] = deque()
        self._queued_items = 0
        self._missed = 0
        self._missed_unknown = False
        self._sees_others = False
        self._filled = asyncio.Event()
        self.closed = False

    def offer(self, message: LiveMessage) -> None:
        """Queue what the client may see and asked for of `message`; never waits."""
        wanted = message.only(self._viewer.device_ids)
        if wanted is None:
            return
        self._messages.append(wanted)
        self._queued_items += len(wanted.items)
        while self._queued_items > self._max_items and len(self._messages) > 1:
            dropped = len(self._messages.popleft().items)
            self._queued_items -= dropped
            self._missed += dropped
            LIVE_MISSED.inc(dropped)
        self._filled.set()

    def miss_unknown(self) -> None:
        """Something was lost before it reached us; nobody knows how much."""
        self._missed_unknown = True
        self._filled.set()

    def see_others(self) -> None:
        """The client may see other devices than before."""
        self._sees_others = True
        self._filled.set()

    def close(self) -> None:
        """Let the client go: the server is stopping, or the client may listen no longer."""
        self.closed = True
        self._filled.set()

    async def wait(self, timeout_s: float) -> bool:
        """Whether there is anything to send, after at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._filled.wait()
        except TimeoutError:
            return False
        return True

    def take_missed(self) -> tuple[bool, int | None]:
        """Whether items were missed since the last call, and how many (None: unknown)."""
        missed, unknown = self._missed, self._missed_unknown
        self._missed, self._missed_unknown = 0, False
        return bool(missed or unknown), None if unknown else missed

    def take_sees_others(self) -> bool:
        """Whether the client may see other devices than at the last call."""
        sees_others, self._sees_others = self._sees_others, False
        return sees_others

    def take(self) -> LiveMessage | None:
        """The oldest message."""
        message = self._messages.popleft() if self._messages else None
        self._queued_items -= len(message.items) if message else 0
        if not (self._messages or self._missed_unknown or self._sees_others or self.closed):
            self._filled.clear()
        return message
