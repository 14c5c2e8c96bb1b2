"""Local days of a time zone as instants, whatever daylight saving does to their length."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from domain.clock import to_instant, to_ms

_DAY = timedelta(days=1)


@lru_cache(maxsize=4096)
def _day_of(zone: ZoneInfo, local_date: str) -> tuple[int, int]:
    midnight = datetime.fromisoformat(local_date).replace(tzinfo=zone)
    # Where the clocks skip midnight, fold=0 reads it as the instant of the skip: the day's first.
    return to_ms(midnight), to_ms((midnight.replace(tzinfo=None) + _DAY).replace(tzinfo=zone))


def day_of(at_ms: int, zone: ZoneInfo) -> tuple[int, int]:
    """The local day that holds `at_ms`: its first instant, and the next day's (23, 24 or 25 hours later)."""
    return _day_of(zone, to_instant(at_ms).astimezone(zone).date().isoformat())
