"""The fleet at a glance: how many devices are there, what they draw, what they used today."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, func, select

from api.bucket_series import buckets_between
from api.buckets import Resolution
from api.queries import latest_documents
from api.readings import Presence, SeenReading, decode_seen, judge_link
from api.services import Services
from api.time_ranges import TimeRange, day_starts_ms, format_instant, local_day
from domain.clock import to_ms
from projections.tables import read_model

_DAY_MS = 86_400_000
_CHUNK = 500
MAX_EXACT_DEVICES = 200
"""Above so many devices with changing buckets, today's energy is as of the last rollup: minutes old, not wrong."""


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
    """What the fleet used since local midnight."""
    model = read_model()
    devices, days = model.devices.c, model.rollups_1d.c
    midnight_ms = day_starts_ms(local_day(now_ms, zone), zone)
    # Joined from `devices`, so that each row is one look-up by key and not a scan of all days.
    today = and_(days.device_ref == devices.device_ref, days.bucket_at_ms == midnight_ms)
    rolled_up = select(devices.device_ref, days.energy_mwh).join_from(model.devices, model.rollups_1d, today)
    energies = {row.device_ref: int(row.energy_mwh or 0) for row in connection.execute(rolled_up)}
    dirty = model.dirty_buckets.c
    changing = connection.execute(
        select(dirty.device_ref).distinct().where(dirty.bucket_at_ms >= midnight_ms - _DAY_MS)
    )
    refs = list(changing.scalars())
    window = TimeRange(midnight_ms, midnight_ms + _DAY_MS)
    for device_ref in refs if len(refs) <= MAX_EXACT_DEVICES else ():
        buckets = buckets_between(connection, model, device_ref, window, Resolution.DAY, zone)
        energies[device_ref] = sum(b.energy_mwh or 0 for b in buckets if b.bucket_at_ms == midnight_ms)
    return sum(energies.values())
