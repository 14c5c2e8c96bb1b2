"""What a series must be, computed from a list of readings in the plainest way."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from api.buckets import Bucket

QUARTER_MS = 900_000
MAX_POWER_W = 8000


def energy_step_mwh(earlier: Any, later: Any) -> int | None:
    """What was used since the last counter: nothing if it fell or rose faster than a socket can."""
    if later.energy_mwh is None:
        return None
    if earlier is None:
        return 0
    step = later.energy_mwh - earlier.energy_mwh
    possible = MAX_POWER_W * (later.measured_at_ms - earlier.measured_at_ms) / 3600
    return step if 0 <= step <= possible else 0


def quarters(readings: Iterable[Any]) -> list[Bucket]:
    """The 15-minute buckets of one device's readings."""
    ordered = sorted(readings, key=lambda r: (r.measured_at_ms, r.boot, r.seq))
    buckets: dict[int, list[tuple[Any, int | None]]] = {}
    earlier = None
    for reading in ordered:
        at_ms = reading.measured_at_ms // QUARTER_MS * QUARTER_MS
        buckets.setdefault(at_ms, []).append((reading, energy_step_mwh(earlier, reading)))
        earlier = reading if reading.energy_mwh is not None else earlier
    return [_bucket(at_ms, held) for at_ms, held in sorted(buckets.items())]


def _bucket(at_ms: int, held: list[tuple[Any, int | None]]) -> Bucket:
    powers = [reading.power_mw for reading, _ in held]
    steps = [step for _, step in held if step is not None]
    instants = [reading.measured_at_ms for reading, _ in held]
    energy = sum(steps) if steps else None
    return Bucket(at_ms, len(held), sum(powers), min(powers), max(powers), energy, min(instants), max(instants))


def wide(parts: Iterable[Bucket], zone: ZoneInfo, *, days: bool) -> list[Bucket]:
    """Those buckets as UTC hours, or as local days."""
    groups: dict[int, list[Bucket]] = {}
    for part in parts:
        groups.setdefault(_starts(part.bucket_at_ms, zone, days), []).append(part)
    return [_sum(at_ms, held) for at_ms, held in sorted(groups.items())]


def _starts(at_ms: int, zone: ZoneInfo, days: bool) -> int:
    if not days:
        return at_ms // 3_600_000 * 3_600_000
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    return int(midnight.timestamp()) * 1000


def _sum(at_ms: int, held: list[Bucket]) -> Bucket:
    energies = [part.energy_mwh for part in held if part.energy_mwh is not None]
    return Bucket(
        at_ms,
        sum(part.readings for part in held),
        sum(part.power_mw_sum for part in held),
        min(part.power_mw_min for part in held),
        max(part.power_mw_max for part in held),
        sum(energies) if energies else None,
        held[0].first_at_ms,
        held[-1].last_at_ms,
    )
