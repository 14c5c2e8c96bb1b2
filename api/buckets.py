"""Buckets of a series: how wide, where they begin, and how 15-minute ones add up to hours and local days."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from api.time_ranges import TimeRange, day_starts_ms, format_instant, local_day

QUARTER_MS = 900_000
_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000


class Resolution(StrEnum):
    """How fine a series is."""

    RAW = "raw"
    QUARTER = "15m"
    HOUR = "1h"
    DAY = "1d"


class Bucket(NamedTuple):
    """The readings in one bucket, in exact integers."""

    bucket_at_ms: int
    readings: int
    power_mw_sum: int
    power_mw_min: int
    power_mw_max: int
    energy_mwh: int | None
    first_at_ms: int
    last_at_ms: int


class BucketPoint(msgspec.Struct, frozen=True, gc=False):
    """A bucket as the API tells it."""

    at: str
    power_mean_w: float
    power_min_w: float
    power_max_w: float
    energy_wh: float | None
    readings: int


def bucket_starts_ms(at_ms: int, resolution: Resolution, zone: ZoneInfo) -> int:
    """Where the bucket that holds `at_ms` begins: on a UTC quarter or hour, or at local midnight."""
    match resolution:
        case Resolution.QUARTER:
            return at_ms - at_ms % QUARTER_MS
        case Resolution.HOUR:
            return at_ms - at_ms % _HOUR_MS
        case Resolution.DAY:
            return day_starts_ms(local_day(at_ms, zone), zone)
        case Resolution.RAW:
            return at_ms


def bucket_ends_ms(starts_ms: int, resolution: Resolution, zone: ZoneInfo, *, count: int = 1) -> int:
    """Where the `count`th bucket from the one that begins at `starts_ms` ends; a local day may have 23 or 25 h."""
    if resolution is Resolution.DAY:
        return day_starts_ms(local_day(starts_ms, zone) + timedelta(days=count), zone)
    return starts_ms + count * (QUARTER_MS if resolution is Resolution.QUARTER else _HOUR_MS)


def whole_buckets(asked: TimeRange, resolution: Resolution, zone: ZoneInfo) -> TimeRange:
    """`asked`, widened to the buckets that it touches."""
    last_starts = bucket_starts_ms(asked.to_ms - 1, resolution, zone)
    return TimeRange(bucket_starts_ms(asked.from_ms, resolution, zone), bucket_ends_ms(last_starts, resolution, zone))


def finest_bucket(asked: TimeRange, *, max_points: int) -> Resolution:
    """The finest bucket of which `asked` holds at most `max_points`, or a day."""
    span_ms = asked.to_ms - asked.from_ms
    for resolution, width_ms in ((Resolution.QUARTER, QUARTER_MS), (Resolution.HOUR, _HOUR_MS)):
        # At both ends a bucket may be touched in part only.
        if span_ms // width_ms + 2 <= max_points:
            return resolution
    return Resolution.DAY


def add_up(buckets: Iterable[Bucket], resolution: Resolution, zone: ZoneInfo) -> list[Bucket]:
    """15-minute buckets as hours or days, by time; energy is None only where no part has any."""
    sums: dict[int, Bucket] = {}
    for bucket in sorted(buckets):
        starts_ms = bucket_starts_ms(bucket.bucket_at_ms, resolution, zone)
        held = sums.get(starts_ms)
        sums[starts_ms] = bucket._replace(bucket_at_ms=starts_ms) if held is None else _join(held, bucket)
    return list(sums.values())


def _join(earlier: Bucket, later: Bucket) -> Bucket:
    energies = [part.energy_mwh for part in (earlier, later) if part.energy_mwh is not None]
    return Bucket(
        earlier.bucket_at_ms,
        earlier.readings + later.readings,
        earlier.power_mw_sum + later.power_mw_sum,
        min(earlier.power_mw_min, later.power_mw_min),
        max(earlier.power_mw_max, later.power_mw_max),
        sum(energies) if energies else None,
        min(earlier.first_at_ms, later.first_at_ms),
        max(earlier.last_at_ms, later.last_at_ms),
    )


def to_point(bucket: Bucket) -> BucketPoint:
    """In SI units; the mean to the nearest mW, halves up, as the database rounds it."""
    count = bucket.readings
    return BucketPoint(
        format_instant(bucket.bucket_at_ms),
        (2 * bucket.power_mw_sum + count) // (2 * count) / 1000,
        bucket.power_mw_min / 1000,
        bucket.power_mw_max / 1000,
        None if bucket.energy_mwh is None else bucket.energy_mwh / 1000,
        count,
    )
