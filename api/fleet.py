"""The fleet at a glance: how many devices are there, what they draw, what they used today."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, func, select

from api.buckets import QUARTER_MS
from api.database import snapshot
from api.queries import latest_documents
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
"""Above so many changing buckets, today's energy is as of the last rollup: up to a quarter of an hour old."""


class FleetCounts(NamedTuple):
    """What only the database knows."""

    presences: dict[str, Presence]
    energy_today_mwh: int
    dead_letters: int
    dead_letters_24h: int


async def fleet_summary(services: Services) -> dict[str, Any]:
    """The summary's members."""
    now_ms = services.clock.now_ms()
    counts = await services.database.ask(count_fleet, services.zone, now_ms)
    documents = await services.views.every_document()
    if documents is None:
        found = await services.database.ask(latest_documents, list(counts.presences))
        documents = list(found.values())
    online, power_w = await _add_up_links(services, counts.presences, documents, now_ms)
    return {
        "at": format_instant(now_ms),
        "time_zone": services.zone.key,
        "devices": len(counts.presences),
        "online": online,
        "power_w": round(power_w, 3),
        "energy_today_wh": counts.energy_today_mwh / 1000,
        "dead_letters": counts.dead_letters,
        "dead_letters_24h": counts.dead_letters_24h,
        "readings_per_min": services.feed.readings_per_min(),
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


def count_fleet(connection: Connection, zone: ZoneInfo, now_ms: int) -> FleetCounts:
    """What the tables say about the whole fleet."""
    model = read_model()
    devices, letters = model.devices.c, model.dead_letters
    rows = connection.execute(select(devices.device_id, devices.online, devices.presence_at_ms)).all()
    recent = letters.c.received_at_ms >= now_ms - _DAY_MS
    return FleetCounts(
        {row.device_id: Presence(row.online, row.presence_at_ms) for row in rows},
        energy_today_mwh(connection, zone, now_ms),
        connection.execute(select(func.count()).select_from(letters)).scalar_one(),
        connection.execute(select(func.count()).select_from(letters).where(recent)).scalar_one(),
    )


def energy_today_mwh(connection: Connection, zone: ZoneInfo, now_ms: int) -> int:
    """What the fleet used since local midnight: the rolled-up days, with their dirty parts computed anew."""
    model = read_model()
    devices, days, quarters, dirty = model.devices.c, model.rollups_1d.c, model.rollups_15m.c, model.dirty_buckets.c
    midnight_ms, next_midnight_ms = day_of(now_ms, zone)
    # Joined from `devices`, so that each row is one look-up by key and not a scan of all days.
    today = and_(days.device_ref == devices.device_ref, days.bucket_at_ms == midnight_ms)
    rolled_up = select(func.sum(days.energy_mwh)).join_from(model.devices, model.rollups_1d, today)
    same = and_(quarters.device_ref == dirty.device_ref, quarters.bucket_at_ms == dirty.bucket_at_ms)
    changing = (
        select(dirty.device_ref, dirty.bucket_at_ms, quarters.energy_mwh)
        .join_from(model.dirty_buckets, model.rollups_15m, same, isouter=True)
        .where(dirty.bucket_at_ms.between(midnight_ms, next_midnight_ms - 1))
        .order_by(dirty.device_ref, dirty.bucket_at_ms)
        .limit(MAX_EXACT_BUCKETS + 1)
    )
    with snapshot(connection):
        total = int(connection.execute(rolled_up).scalar() or 0)
        parts = connection.execute(changing).all()
        if len(parts) > MAX_EXACT_BUCKETS:
            return total
        targets = [Target(ref, at_ms, at_ms + QUARTER_MS) for ref, at_ms, _ in parts]
        fresh = sum(bucket.energy_mwh or 0 for bucket in compute_buckets(connection, model, targets))
    return total + fresh - sum(int(energy_mwh or 0) for _, _, energy_mwh in parts)
