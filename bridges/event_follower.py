"""Follows the event store's log for folds in memory: everything up to now at the start, then each event soon after."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from eventsourcing.persistence import ApplicationRecorder, Notification, PersistenceError

from domain.backoff import Backoff
from domain.errors import DependencyUnavailable

log = structlog.get_logger()

POLL_S = 0.2
BATCH = 1000
_PAUSE_S = 0.02
Fold = Callable[[Sequence[Notification]], None]


class EventFollower:
    """One fold, and how far it has come.

    Args:
        fold: takes events in the order of the log, each once; called in the event loop, so whoever reads the folded
            state there never sees half of a batch.
        topics: leave out all others; empty: leave out none.
        poll_s: how long an event of another process may stand in the log unseen if no hint comes.
    """

    def __init__(
        self,
        recorder: ApplicationRecorder,
        fold: Fold,
        *,
        topics: Sequence[str] = (),
        poll_s: float = POLL_S,
    ) -> None:
        self._recorder, self._fold, self.topics, self._poll_s = recorder, fold, topics, poll_s
        self._turn = asyncio.Lock()
        self._woken = asyncio.Event()
        self._looked = asyncio.Condition()
        self._looks_begun = self._looks_ended = 0
        self.position = 0
        """The id of the last event that is folded, or left out by its topic."""
        self._current_at_s = -math.inf

    @property
    def age_s(self) -> float:
        """How long ago all that was in the log was folded here."""
        return time.monotonic() - self._current_at_s

    def hint(self, newest_id: int) -> None:
        """Wake `run` if there is anything new; call it in the event loop."""
        if newest_id > self.position:
            self._woken.set()

    async def catch_up(self, to: int | None = None, *, within_s: float = 5.0) -> None:
        """Return once the event `to` is folded, or, without one, all that were in the log when this was called.

        Args:
            within_s: how long it may stand still on the way.
        Raises:
            DependencyUnavailable: the event store did not give them in time.
        """
        loop = asyncio.get_running_loop()
        began_at_s, wants_all = time.monotonic(), to is None
        deadline, trouble = loop.time() + within_s, "no answer"
        while to is None or self.position < to:
            before = self.position
            try:
                async with asyncio.timeout_at(deadline):
                    to = await asyncio.to_thread(self._newest) if to is None else to
                    await self._step(to)
                    trouble = "it is not in the log"
            except TimeoutError:
                pass
            except PersistenceError as error:
                trouble = str(error)
            if self.position > before:
                deadline = loop.time() + within_s
            elif loop.time() >= deadline:
                raise DependencyUnavailable("database", f"event {to} was not seen within {within_s:g} s: {trouble}")
            elif to is None or self.position < to:
                await asyncio.sleep(_PAUSE_S)
        if wants_all:
            self._current_at_s = max(self._current_at_s, began_at_s)

    async def next_look(self, *, within_s: float = 1.0) -> None:
        """Return once `run` has read what the log had at this moment, or after `within_s`.

        It asks for no look of its own: however many wait, the log is read as often as if nobody did.
        """
        wanted = self._looks_begun + 1
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._looked:
                await self._looked.wait_for(lambda: self._looks_ended >= wanted)

    async def run(self) -> None:
        """Follow the log until cancelled; while the database is away, wait."""
        backoff, lost = Backoff(most_s=2.0), False
        while True:
            try:
                more = await self._step()
            except PersistenceError as error:
                if not lost:
                    log.warning("event store lost", error=str(error)[:200], position=self.position)
                lost = True
                await asyncio.sleep(backoff.delay_s())
                continue
            if lost:
                log.info("event store is back", position=self.position)
            lost = False
            backoff.reset()
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._poll_s)

    async def _step(self, to: int | None = None) -> bool:
        """Fold one batch, unless `to` is folded already; whether there is more."""
        async with self._turn:
            if to is not None and self.position >= to:
                return False
            self._woken.clear()
            self._looks_begun += 1
            look, began_at_s = self._looks_begun, time.monotonic()
            events, reached = await asyncio.to_thread(self._read, self.position)
            if events:
                self._fold(events)
            self.position = reached
            if len(events) == BATCH:
                return True
            self._current_at_s = began_at_s
        async with self._looked:
            self._looks_ended = look
            self._looked.notify_all()
        return False

    def _read(self, after: int) -> tuple[Sequence[Notification], int]:
        """The next events, and how far the log has been read with them."""
        if not self.topics:
            events = self._recorder.select_notifications(after, BATCH, inclusive_of_start=False)
            return events, events[-1].id if events else after
        # Ids have no gaps, so what is not among these up to the newest one has another topic.
        newest = self._newest()
        events = self._recorder.select_notifications(
            after, BATCH, stop=newest, topics=self.topics, inclusive_of_start=False
        )
        return events, events[-1].id if len(events) == BATCH else max(after, newest)

    def _newest(self) -> int:
        return self._recorder.max_notification_id() or 0
