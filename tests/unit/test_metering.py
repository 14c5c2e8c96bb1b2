"""The simulated appliances and their meters: repeatable, physically plausible, exact in the counter."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from domain.data_payload import decode_data
from domain.wire import MAX_CURRENT_MA, MAX_POWER_MW, WireReading, encode_data
from ops.simulator.appliances import APPLIANCES, HOUR_MS, TimeOfDay
from ops.simulator.metering import MW_MS_PER_MWH, MeteredSocket

START_MS = 1_764_000_000_000
DAY_MS = 24 * HOUR_MS
KINDS = sorted(APPLIANCES)


def _meter(kind: str, seed: str = "home 1", energy_mwh: int = 5_000) -> MeteredSocket:
    return MeteredSocket(kind, seed=seed, start_ms=START_MS, energy_mwh=energy_mwh)


def _day(kind: str, interval_ms: int = 10_000) -> list[WireReading]:
    meter = _meter(kind)
    return [
        meter.read("0badcafe", seq, at) for seq, at in enumerate(range(START_MS, START_MS + DAY_MS + 1, interval_ms))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_measure_the_same_day_and_other_seeds_another(kind: str) -> None:
    one, same, other = (_meter(kind, seed) for seed in ("home 1", "home 1", "home 2"))
    pieces = [list(meter.advance(START_MS + 2 * HOUR_MS)) for meter in (one, same, other)]
    assert pieces[0] == pieces[1]
    readings = [meter.read("0badcafe", 0, START_MS + 3 * HOUR_MS) for meter in (one, same, other)]
    assert readings[0] == readings[1]
    assert readings[0] != readings[2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_counter_is_the_integral_of_the_power_to_the_last_digit(kind: str) -> None:
    pieces = list(_meter(kind).advance(START_MS + 7 * HOUR_MS + 123))
    assert sum(piece.duration_ms for piece in pieces) == 7 * HOUR_MS + 123
    integral_mw_ms = sum(piece.duration_ms * piece.power_mw for piece in pieces)
    reading = _meter(kind).read("0badcafe", 0, START_MS + 7 * HOUR_MS + 123)
    assert reading.energy_mwh == 5_000 + integral_mw_ms // MW_MS_PER_MWH


@pytest.mark.parametrize("kind", KINDS)
def test_a_day_of_an_appliance_could_be_true(kind: str) -> None:
    readings = _day(kind)
    for before, after in itertools.pairwise(readings):
        assert before.energy_mwh is not None and after.energy_mwh is not None
        assert 0 <= after.energy_mwh - before.energy_mwh <= MAX_POWER_MW * 10_000 // HOUR_MS
    for reading in readings:
        assert reading.voltage_mv is not None and 207_000 <= reading.voltage_mv <= 253_000  # EN 50160: ±10 %
        assert reading.current_ma is not None and reading.current_ma <= MAX_CURRENT_MA
        apparent_mw = reading.voltage_mv * reading.current_ma / 1000
        assert reading.power_mw <= apparent_mw + reading.voltage_mv / 1000  # the current is rounded to 1 mA
        assert reading.temperature_mc is not None and 15_000 <= reading.temperature_mc <= 80_000
        assert reading.rssi_dbm is not None and -95 <= reading.rssi_dbm <= -30
    last_mwh = readings[-1].energy_mwh or 0
    assert 10_000 < last_mwh < 20_000_000  # between a lamp's and a heater's day


@pytest.mark.parametrize("kind", KINDS)
def test_the_bridge_accepts_every_reading(kind: str) -> None:
    readings = _day(kind, 120_000)
    for chunk in (readings[:300], readings[300:600], readings[600:]):
        decoded = decode_data(encode_data(chunk), received_at_ms=START_MS + DAY_MS, max_age_ms=2 * DAY_MS)
        assert decoded.rejected == []
        assert decoded.readings == chunk


def test_the_compressor_of_a_fridge_starts_with_a_rush_of_current() -> None:
    phases = APPLIANCES["fridge"](Random(1), TimeOfDay(START_MS))
    powers = [phase.power_w for phase in itertools.islice(phases, 40)]
    rush = max(powers)
    running = [power for power in powers if 50 < power < 150]
    assert rush > 5 * max(running)


def test_the_mains_sag_under_a_kettle() -> None:
    readings = _day("kettle")
    boiling = [r.voltage_mv or 0 for r in readings if r.power_mw > 1_500_000]
    idle = [r.voltage_mv or 0 for r in readings if r.power_mw < 1_000]
    assert sum(idle) / len(idle) - sum(boiling) / len(boiling) > 1_500


def test_a_washing_machine_heats_and_then_turns_its_drum() -> None:
    phases = itertools.islice(APPLIANCES["washer"](Random(3), TimeOfDay(START_MS)), 300)
    powers = [phase.power_w for phase in phases]
    heating = next(at for at, power in enumerate(powers) if power > 1_500)
    turning = [at for at, power in enumerate(powers) if 100 < power < 200]
    assert min(turning) > heating
    assert len(turning) > 60
