"""Statistics of local days; days that are over are remembered in Redis for ten minutes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from api.bucket_series import buckets_between, quarters_with_readings
from api.buckets import QUARTER_MS, Bucket, Resolution, to_point
from api.problems import no_reading
from api.queries import find_device_ref
from api.services import Services
from api.time_ranges import TimeRange, day_starts_ms, format_instant, local_day
from projections.tables import read_model

CACHE_S = 600
_SETTLED_AFTER_MS = 2 * 3_600_000
"""A day is remembered only when it has been over for this long: most backlogs have arrived by then."""
_NO_READINGS = b"null"


class DayStatistics(msgspec.Struct, frozen=True, gc=False):
    """One local day as the API tells it."""

    day: date
    starts_at: str
    ends_at: str
    energy_wh: float | None
    power_mean_w: float
    power_min_w: float
    power_max_w: float
    readings: int
    coverage: float
    first_at: str
    last_at: str
    computed_at: str


class _Days(NamedTuple):
    first: date
    last: date
    zone: ZoneInfo
    now_ms: int


async def daily_document(services: Services, device_id: str, first: date, last: date) -> bytes:
    """The JSON document of the days from `first` to `last`.

    Raises:
        NotFound: it has not sent a reading yet.
    """
    now_ms = services.clock.now_ms()
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    known = await _remembered(services, device_id, days, now_ms)
    unknown = [day for day in days if day not in known]
    if unknown:
        wanted = _Days(unknown[0], unknown[-1], services.zone, now_ms)
        computed = await services.database.ask(days_of, device_id, wanted)
        fresh = {day: computed.get(day, _NO_READINGS) for day in unknown}
        known.update(fresh)
        settled = {day: item for day, item in fresh.items() if _is_settled(services.zone, day, now_ms)}
        entries = {_key(services, device_id, day): item for day, item in settled.items()}
        await services.views.cache(entries, for_s=CACHE_S)
    items = [msgspec.Raw(known[day]) for day in days if known[day] != _NO_READINGS]
    return msgspec.json.encode({"device_id": device_id, "time_zone": services.zone.key, "items": items})


async def _remembered(services: Services, device_id: str, days: Sequence[date], now_ms: int) -> dict[date, bytes]:
    settled = [day for day in days if _is_settled(services.zone, day, now_ms)]
    found = await services.views.cached([_key(services, device_id, day) for day in settled])
    return {day: item for day, item in zip(settled, found, strict=True) if item is not None}


def _key(services: Services, device_id: str, day: date) -> str:
    return f"daily:{services.zone.key}:{device_id}:{day.isoformat()}"


def _is_settled(zone: ZoneInfo, day: date, now_ms: int) -> bool:
    return day_starts_ms(day + timedelta(days=1), zone) + _SETTLED_AFTER_MS <= now_ms


def days_of(connection: Connection, device_id: str, wanted: _Days) -> dict[date, bytes]:
    """The JSON of every day in `wanted` that has readings.

    Raises:
        NotFound: it has not sent a reading yet.
    """
    model = read_model()
    device_ref = find_device_ref(connection, model, device_id)
    if device_ref is None:
        raise no_reading(device_id)
    zone = wanted.zone
    window = TimeRange(day_starts_ms(wanted.first, zone), day_starts_ms(wanted.last + timedelta(days=1), zone))
    quarters = quarters_with_readings(connection, model, device_ref, window)
    buckets = buckets_between(connection, model, device_ref, window, Resolution.DAY, zone)
    return _described(buckets, quarters, zone, wanted.now_ms)


def _described(buckets: Iterable[Bucket], quarters: Iterable[int], zone: ZoneInfo, now_ms: int) -> dict[date, bytes]:
    held = Counter(local_day(at_ms, zone) for at_ms in quarters)
    described = {}
    for bucket in buckets:
        day = local_day(bucket.bucket_at_ms, zone)
        described[day] = msgspec.json.encode(_statistics(bucket, day, held[day], zone, now_ms))
    return described


def _statistics(bucket: Bucket, day: date, held_quarters: int, zone: ZoneInfo, now_ms: int) -> DayStatistics:
    starts_ms, ends_ms = bucket.bucket_at_ms, day_starts_ms(day + timedelta(days=1), zone)
    # A clock that is a little fast may have put a reading into a quarter that has not begun here.
    elapsed = max(1, held_quarters, -(-(min(now_ms, ends_ms) - starts_ms) // QUARTER_MS))
    point = to_point(bucket)
    return DayStatistics(
        day,
        format_instant(starts_ms),
        format_instant(ends_ms),
        point.energy_wh,
        point.power_mean_w,
        point.power_min_w,
        point.power_max_w,
        bucket.readings,
        round(held_quarters / elapsed, 4),
        format_instant(bucket.first_at_ms),
        format_instant(bucket.last_at_ms),
        format_instant(now_ms),
    )
