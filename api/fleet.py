"""Somebody's devices at a glance: how many are there, what they draw, what they used today."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, func, select

from api.buckets import QUARTER_MS
from api.database import snapshot
from api.readings import Presence, SeenReading, decode_seen, judge_link
from api.services import Services
from api.time_ranges import format_instant
from domain.clock import to_ms
from projections.days import day_of
from projections.rollups import Target, compute_buckets
from projections.tables import read_model

_DAY_MS = 86_400_000
_CHUNK = 500
MAX_EXACT_BUCKETS = 2000
"""Above so many changing buckets of 500 devices, their energy is as of the last rollup: up to 15 minutes old."""


class FleetCounts(NamedTuple):
    """What only the database knows."""

    presences: dict[str, Presence]
    energy_today_mwh: int


class DeadLetterCounts(NamedTuple):
    """How many there are."""

    all: int
    last_24h: int


async def fleet_summary(services: Services, device_ids: Sequence[str], *, with_dead_letters: bool) -> dict[str, Any]:
    """The summary's members.

    Args:
        device_ids: what it is about.
        with_dead_letters: they are the whole site's.
    """
    now_ms = services.clock.now_ms()
    counts = await services.database.ask(count_fleet, device_ids, services.zone, now_ms)
    letters = await services.database.ask(count_dead_letters, now_ms) if with_dead_letters else None
    documents = [one for one in await services.latest.documents(device_ids) if one is not None]
    online, power_w = await _add_up_links(services, counts.presences, documents, now_ms)
    return {
        "at": format_instant(now_ms),
        "time_zone": services.zone.key,
        "devices": len(device_ids),
        "online": online,
        "power_w": round(power_w, 3),
        "energy_today_wh": counts.energy_today_mwh / 1000,
        "dead_letters": None if letters is None else letters.all,
        "dead_letters_24h": None if letters is None else letters.last_24h,
        "readings_per_min": services.feed.readings_per_min(device_ids),
    }


async def _add_up_links(
    services: Services, presences: dict[str, Presence], documents: Sequence[bytes], now_ms: int
) -> tuple[int, float]:
    """How many devices are online, and the sum of their newest power."""
    latest: dict[str, SeenReading] = {}
    for start in range(0, len(documents), _CHUNK):
        seen = map(decode_seen, documents[start : start + _CHUNK])
        latest.update((reading.device_id, reading) for reading in seen)
        # Ten thousand documents take some 10 ms: let others have a turn.
        await asyncio.sleep(0)
    online, power_w = 0, 0.0
    for device_id, presence in presences.items():
        reading = latest.get(device_id)
        received_ms = None if reading is None else to_ms(reading.received_at)
        link = judge_link(presence, received_ms, now_ms=now_ms, offline_after_s=services.offline_after_s)
        online += link.online
        power_w += reading.power_w if link.online and reading is not None else 0.0
    return online, power_w


def count_fleet(connection: Connection, device_ids: Sequence[str], zone: ZoneInfo, now_ms: int) -> FleetCounts:
    """What the tables say about these devices."""
    devices = read_model().devices.c
    presences: dict[str, Presence] = {}
    refs: list[int] = []
    for start in range(0, len(device_ids), _CHUNK):
        chunk = devices.device_id.in_(device_ids[start : start + _CHUNK])
        query = select(devices.device_ref, devices.device_id, devices.online, devices.presence_at_ms).where(chunk)
        for row in connection.execute(query):
            refs.append(row.device_ref)
            presences[row.device_id] = Presence(row.online, row.presence_at_ms)
    return FleetCounts(presences, energy_today_mwh(connection, refs, zone, now_ms))


def count_dead_letters(connection: Connection, now_ms: int) -> DeadLetterCounts:
    """All of the site, and those of the last 24 hours."""
    letters = read_model().dead_letters
    recent = letters.c.received_at_ms >= now_ms - _DAY_MS
    return DeadLetterCounts(
        connection.execute(select(func.count()).select_from(letters)).scalar_one(),
        connection.execute(select(func.count()).select_from(letters).where(recent)).scalar_one(),
    )


def energy_today_mwh(connection: Connection, refs: Sequence[int], zone: ZoneInfo, now_ms: int) -> int:
    """What these devices used since local midnight: the rolled-up days, with their dirty parts computed anew."""
    with snapshot(connection):
        chunks = [refs[start : start + _CHUNK] for start in range(0, len(refs), _CHUNK)]
        return sum(_energy_of(connection, chunk, zone, now_ms) for chunk in chunks)


def _energy_of(connection: Connection, refs: Sequence[int], zone: ZoneInfo, now_ms: int) -> int:
    model = read_model()
    days, quarters, dirty = model.rollups_1d.c, model.rollups_15m.c, model.dirty_buckets.c
    midnight_ms, next_midnight_ms = day_of(now_ms, zone)
    rolled_up = select(func.sum(days.energy_mwh)).where(days.device_ref.in_(refs), days.bucket_at_ms == midnight_ms)
    same = and_(quarters.device_ref == dirty.device_ref, quarters.bucket_at_ms == dirty.bucket_at_ms)
    changing = (
        select(dirty.device_ref, dirty.bucket_at_ms, quarters.energy_mwh)
        .join_from(model.dirty_buckets, model.rollups_15m, same, isouter=True)
        .where(dirty.device_ref.in_(refs), dirty.bucket_at_ms.between(midnight_ms, next_midnight_ms - 1))
        .order_by(dirty.device_ref, dirty.bucket_at_ms)
        .limit(MAX_EXACT_BUCKETS + 1)
    )
    total = int(connection.execute(rolled_up).scalar() or 0)
    parts = connection.execute(changing).all()
    if len(parts) > MAX_EXACT_BUCKETS:
        return total
    targets = [Target(ref, at_ms, at_ms + QUARTER_MS) for ref, at_ms, _ in parts]
    fresh = sum(bucket.energy_mwh or 0 for bucket in compute_buckets(connection, model, targets))
    return total + fresh - sum(int(energy_mwh or 0) for _, _, energy_mwh in parts)
