"""The buckets of readings by a plain fold: what the SQL of the rollups must give."""

from __future__ import annotations

from collections.abc import Iterable

from domain.wire import MAX_POWER_MW
from projections.folded import Row
from projections.rollups import HOUR_MS, QUARTER_MS, BucketRow


def energy_step_mwh(earlier_mwh: int, earlier_at_ms: int, later_mwh: int, later_at_ms: int) -> int:
    """What the counter says was used between two readings; 0 if it fell or rose faster than is possible.

    Source: domain/wire.py, `MAX_POWER_MW` (20 A at 400 V).
    """
    step_mwh = later_mwh - earlier_mwh
    possible = step_mwh * HOUR_MS <= MAX_POWER_MW * (later_at_ms - earlier_at_ms)
    return step_mwh if step_mwh > 0 and possible else 0


def fold_buckets(rows: Iterable[Row], width_ms: int = QUARTER_MS) -> list[BucketRow]:
    """The buckets of all these rows of `readings`, by device and time: told plainly."""
    buckets: dict[tuple[int, int], BucketRow] = {}
    counters: dict[int, tuple[int, int]] = {}
    for row in sorted(rows, key=lambda row: row[:4]):
        device_ref, at_ms, power_mw, energy_mwh = row[0], row[1], row[5], row[8]
        key = device_ref, at_ms - at_ms % width_ms
        held = buckets.get(key) or BucketRow(*key, 0, 0, power_mw, power_mw, None, at_ms, at_ms)
        used_mwh = held.energy_mwh
        if energy_mwh is not None:
            earlier = counters.get(device_ref, (energy_mwh, at_ms))
            used_mwh = (used_mwh or 0) + energy_step_mwh(*earlier, energy_mwh, at_ms)
            counters[device_ref] = energy_mwh, at_ms
        buckets[key] = BucketRow(
            *key,
            held.readings + 1,
            held.power_mw_sum + power_mw,
            min(held.power_mw_min, power_mw),
            max(held.power_mw_max, power_mw),
            used_mwh,
            held.first_at_ms,
            at_ms,
        )
    return [buckets[key] for key in sorted(buckets)]
