"""Denied attempts on their way into the event store: noted at once, written a moment later, many at a time.

The answer never waits for it. Whoever repeats the same attempt is noted once a minute, and a full queue drops: nobody
can fill the store, or slow others down, by asking for what he may not have.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from eventsourcing.persistence import PersistenceError

from api.metrics import DENIALS
from domain.backoff import Backoff
from domain.errors import WattAwayError
from domain.lifecycle.cause import Cause
from domain.lifecycle.denials import Denial
from domain.lifecycle.lifecycle import Lifecycle

log = structlog.get_logger()

_QUEUE = 1000
_BATCH = 100
_SAME_WITHIN_S = 60.0
_MOST_REMEMBERED = 10_000
_DRAIN_S = 3.0


@dataclass(frozen=True)
class DeniedAttempt:
    """What somebody tried and may not; `make_cause` may block."""

    action: str
    subject: str
    reason: str
    actor: str
    make_cause: Callable[[], Cause]


class DenialNotes:
    """A bounded queue with one writer."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._queue: asyncio.Queue[DeniedAttempt] = asyncio.Queue(_QUEUE)
        self._recent: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def note(self, attempt: DeniedAttempt) -> None:
        """Queue an attempt, unless the same one was noted within the last minute."""
        same, now = (attempt.actor, attempt.action, attempt.subject, attempt.reason), time.monotonic()
        if now - self._recent.get(same, -_SAME_WITHIN_S) < _SAME_WITHIN_S:
            DENIALS.labels("repeated").inc()
            return
        try:
            self._queue.put_nowait(attempt)
        except asyncio.QueueFull:
            DENIALS.labels("dropped").inc()
            return
        self._recent[same] = now
        self._recent.move_to_end(same)
        if len(self._recent) > _MOST_REMEMBERED:
            self._recent.popitem(last=False)

    async def run(self) -> None:
        """Write what is noted until cancelled; while the event store is away, wait."""
        while True:
            some = await self._next()
            await self._write_all(some)
            for _ in some:
                self._queue.task_done()

    async def drain(self) -> None:
        """Return once `run` has written all that was noted, or after a few seconds if the event store is away."""
        try:
            async with asyncio.timeout(_DRAIN_S):
                await self._queue.join()
        except TimeoutError:
            log.warning("denied attempts not written", still_queued=self._queue.qsize())

    async def _next(self) -> list[DeniedAttempt]:
        some = [await self._queue.get()]
        while len(some) < _BATCH and not self._queue.empty():
            some.append(self._queue.get_nowait())
        return some

    async def _write_all(self, some: Sequence[DeniedAttempt]) -> None:
        backoff = Backoff()
        while True:
            try:
                await asyncio.to_thread(self._write, some)
            except (WattAwayError, PersistenceError) as error:
                log.warning("denied attempts not written yet", count=len(some), error=str(error)[:200])
                await asyncio.sleep(backoff.delay_s())
                continue
            DENIALS.labels("written").inc(len(some))
            return

    def _write(self, some: Sequence[DeniedAttempt]) -> None:
        self._lifecycle.store(*(Denial.note(one.action, one.subject, one.reason, one.make_cause()) for one in some))
