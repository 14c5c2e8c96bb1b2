"""Commands that their sockets never answered, as dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from domain.backoff import Backoff
from domain.clock import to_ms
from domain.errors import DependencyUnavailable
from domain.events import dead_letter, dead_letter_record
from domain.lifecycle.commands import Command
from domain.ports import EventLog

log = structlog.get_logger()


class FailedCommands:
    """Appends them to the log; one that is read twice has the same id again."""

    def __init__(self, event_log: EventLog, on_retry: Callable[[], None]) -> None:
        self._event_log, self._on_retry = event_log, on_retry

    async def bury(self, event: Command.Failed, value: bytes) -> None:
        """Return once the log has it, however long that takes."""
        letter = dead_letter(
            "command_failed",
            f"command {event.originator_id}: {event.reason}",
            origin=f"command:{event.originator_id}",
            raw=value,
            received_at_ms=to_ms(event.timestamp),
            device_id=event.device_id,
        )
        backoff = Backoff()
        while True:
            try:
                await self._event_log.append([dead_letter_record(letter)])
                return
            except DependencyUnavailable as error:
                self._on_retry()
                log.warning("dead letter tried again", reason=str(error)[:200])
            await asyncio.sleep(backoff.delay_s())
