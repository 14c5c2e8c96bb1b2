"""Where the time comes from, so that tests can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Clock(Protocol):
    """Anything that tells the time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def to_instant(at_ms: int) -> datetime:
    """Milliseconds since 1970 as a UTC instant, exact to the millisecond.

    A double has room for microseconds until the year 2242, so this is exact where it is used and twice as fast as
    adding a timedelta.
    """
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def to_ms(instant: datetime) -> int:
    """A zoned instant as milliseconds since 1970 (rounded down)."""
    return (instant - _EPOCH) // _MILLISECOND
