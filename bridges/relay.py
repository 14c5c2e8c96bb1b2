"""The relay: carries the event store's log to Kafka, in order, each event at least once.

The position is stored after Kafka has acknowledged, so whoever kills the relay in between gets events twice, never
none. One relay is active at a time; one that lost its lock unawares (its connection broke, or it stood still) may
append one more batch of events that stand in the topic already, then finds its position taken. Either way an event's
`ce_id` tells its doubles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress

import structlog
from eventsourcing.persistence import ApplicationRecorder, PersistenceError

from bridges.lifecycle_records import lifecycle_record
from bridges.relay_metrics import RelayMetrics
from bridges.relay_positions import RelayPosition
from domain.backoff import Backoff
from domain.clock import Clock
from domain.errors import DependencyUnavailable, PositionFenced
from domain.ports import EventLog

log = structlog.get_logger()

BATCH = 1000
POLL_S = 0.5
_STANDBY_S = 0.5

Alone = Callable[[], AbstractContextManager[bool]]
"""A context that yields whether this relay is the only one for as long as it lasts; it may block."""


class Relay:
    """Carries until it is told to stop, through any outage of Kafka or the database.

    Args:
        topic_id: asks Kafka for the id of the topic.
        on_step: called between the steps of a batch; tests kill the process there.
    """

    def __init__(
        self,
        recorder: ApplicationRecorder,
        position: RelayPosition,
        event_log: EventLog,
        topic_id: Callable[[], Awaitable[str]],
        clock: Clock,
        metrics: RelayMetrics,
        *,
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._recorder, self._position, self._event_log, self._topic_id = recorder, position, event_log, topic_id
        self._clock, self._metrics, self._on_step = clock, metrics, on_step
        self._stop, self._woken = asyncio.Event(), asyncio.Event()
        self._reached: int | None = None
        self._lost = False

    def stop(self) -> None:
        """End `run` after the batch under way."""
        self._stop.set()
        self._woken.set()

    def hint(self, _newest_id: int) -> None:
        """There may be new events."""
        self._woken.set()

    async def run(self, alone: Alone) -> None:
        """Wait until this relay is the only one, carry, and begin anew after any trouble."""
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                if not await self._carry_alone(alone, backoff):
                    await _wait(self._stop, _STANDBY_S)
                continue
            except PositionFenced as error:
                log.warning("relay overtaken", detail=str(error))
            except (DependencyUnavailable, PersistenceError) as error:
                if not self._lost:
                    log.warning("relay holds", error=str(error)[:200])
                self._lost = True
                self._metrics.failures.inc()
                await self._note_lag()
            await _wait(self._stop, backoff.delay_s())

    async def _carry_alone(self, alone: Alone, backoff: Backoff) -> bool:
        """Carry until told to stop; whether this relay was the only one."""
        context = alone()
        held = await asyncio.to_thread(context.__enter__)
        try:
            if held:
                self._metrics.active.set(1)
                await self._carry(backoff)
        finally:
            self._metrics.active.set(0)
            await asyncio.to_thread(context.__exit__, None, None, None)
        return held

    async def _carry(self, backoff: Backoff) -> None:
        topic_id = await self._topic_id()
        position = await asyncio.to_thread(self._position.begin, topic_id)
        log.info("relay active", position=position)
        self._on_step("begun")
        while not self._stop.is_set():
            self._woken.clear()
            reached = await self._carry_batch(topic_id, position)
            if self._lost:
                log.info("relay goes on", position=reached)
            self._lost = False
            backoff.reset()
            if reached - position < BATCH and not self._stop.is_set():
                await _wait(self._woken, POLL_S)
            position = reached

    async def _carry_batch(self, topic_id: str, position: int) -> int:
        """Carry what comes next; the position after it."""
        events = await asyncio.to_thread(self._recorder.select_notifications, position, BATCH, inclusive_of_start=False)
        self._reached = position
        if events:
            self._on_step("read")
            if len(events) == BATCH:
                await self._note_lag()
            else:
                self._metrics.lag.set(len(events))
            now_ms = self._clock.now_ms()
            await self._event_log.append([lifecycle_record(event, now_ms) for event in events])
            self._on_step("appended")
            await asyncio.to_thread(self._position.move, topic_id, position, events[-1].id)
            self._on_step("stored")
            self._metrics.relayed.inc(len(events))
            self._reached = events[-1].id
        if len(events) < BATCH:
            self._metrics.lag.set(0)
        return self._reached

    async def _note_lag(self) -> None:
        if self._reached is not None:
            with suppress(PersistenceError):
                newest = await asyncio.to_thread(self._recorder.max_notification_id)
                self._metrics.lag.set((newest or 0) - self._reached)


async def _wait(event: asyncio.Event, within_s: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within_s)
