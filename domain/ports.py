"""What the engine needs from the outside, one small Protocol each; `tests/contract/` holds a suite for every one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.events import Record


class EventLog(Protocol):
    """The Kafka log, as its writers see it."""

    async def append(self, records: Sequence[Record]) -> None:
        """Return once every record is acknowledged by all in-sync replicas, in order per key.

        Raises:
            DependencyUnavailable: not acknowledged in time. Some of the records may be in the log all the same:
                append them again, their ids make the doubles harmless.
        """
