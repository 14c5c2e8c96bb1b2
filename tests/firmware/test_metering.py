"""From pulses and frames to readings: calibrated, without outliers and mixed windows; boards as their files say."""

from __future__ import annotations

import json
from typing import Any

import bl0937
import board
import hal
import pytest
from calibrating import gain_of
from energy import SLOT_SIZE, EnergyCounter
from flash import SECTOR_SIZE, Flash
from hypothesis import given
from hypothesis import strategies as st
from metering import CALIBRATION_SLOT_SIZE, Calibration, Metering
from pulse_meter import CURRENT_WINDOWS, VOLTAGE_WINDOWS, PulseMeter
from records import Record

from tests.firmware.micropython import FIRMWARE, Worker, here

BOARDS = sorted((FIRMWARE / "boards").glob("*.json"))


class Feed:
    """A meter that says what a test gives it."""

    def __init__(self) -> None:
        self.samples: list[tuple[Any, ...] | None] = []

    def sample(self, now: int) -> tuple[Any, ...] | None:
        return self.samples.pop(0) if self.samples else None


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def metering(feed: Feed) -> Metering:
    flash = Flash(4 * SECTOR_SIZE)
    hal.board.use_virtual_clock()
    counter = EnergyCounter(Record(flash, 0, SLOT_SIZE), hal.ticks_ms())
    return Metering(feed, Calibration(Record(flash, 2 * SECTOR_SIZE, CALIBRATION_SLOT_SIZE)), counter)


def play(metering: Metering, feed: Feed, *samples: Any) -> list[bool]:
    feed.samples.extend(samples)
    return [metering.poll(hal.ticks_ms()) for _ in samples]


class PulseBench:
    """A BL0937 at a load: pulses come as its formulas say."""

    def __init__(self) -> None:
        hal.board.use_virtual_clock()
        hal.board.levels.clear()
        hal.board.pulses.clear()
        self.factors = bl0937.factors(1000, 2_041_000)
        self.select = hal.OutputPin(18, False, False)
        counters = hal.PulseCounter(0, 4), hal.PulseCounter(1, 5)
        self.meter = PulseMeter(*counters, self.select, self.factors, hal.ticks_ms())
        self.carry = [0, 0]

    def window(self, voltage_mv: int, current_ma: int, power_mw: int, ms: int = 1000) -> Any:
        power, current, voltage = self.factors
        cf1 = voltage_mv * 1000 * ms // voltage if self.select.is_active() else current_ma * 1000 * ms // current
        self.carry[0] += power_mw * ms
        pulses, self.carry[0] = divmod(self.carry[0], power)
        hal.board.pulses[4] += pulses
        hal.board.pulses[5] += cf1 // 1000
        hal.board.advance(ms)
        return self.meter.sample(hal.ticks_ms())


def test_a_pulse_meter_measures_what_its_formulas_say() -> None:
    bench = PulseBench()
    samples = [bench.window(230_000, 4_000, 920_000) for _ in range(2 * (VOLTAGE_WINDOWS + CURRENT_WINDOWS))]
    voltage, current, power, _ = samples[-1]
    assert (voltage, current, power) == (
        pytest.approx(230_000, abs=200),
        pytest.approx(4_000, abs=13),
        pytest.approx(920_000, abs=1800),
    )
    counted = sum(sample[3] for sample in samples)
    assert counted == pytest.approx(920_000 * 1000 * len(samples), abs=bench.factors[0])


def test_the_first_window_after_a_turn_of_the_mux_is_thrown_away() -> None:
    bench = PulseBench()
    seen = []
    for _ in range(6):
        of_voltage = bench.select.is_active()
        windows = VOLTAGE_WINDOWS if of_voltage else CURRENT_WINDOWS
        # CF1 still went on with the other quantity for a part of this window.
        hal.board.pulses[5] += 777
        seen += [bench.window(230_000, 4_000, 920_000) for _ in range(windows)]
        assert bench.select.is_active() is not of_voltage
    assert all(abs(sample[0] - 230_000) < 200 for sample in seen[1:])
    assert all(abs(sample[1] - 4_000) <= 13 for sample in seen[VOLTAGE_WINDOWS + 1 :])


def test_a_window_too_short_is_not_measured_and_loses_no_pulse() -> None:
    bench = PulseBench()
    assert bench.window(230_000, 4_000, 920_000, ms=100) is None
    assert bench.window(230_000, 4_000, 920_000, ms=900)[2] == pytest.approx(920_000, abs=1800)


def test_an_outlier_does_not_reach_a_reading(metering: Metering, feed: Feed) -> None:
    assert metering.reading() is None
    good = (230_000, 431, 98_200, 98_200_000)
    assert play(metering, feed, good, good, (230_000, 19_000, 4_000_000, 0)) == [True, True, True]
    assert metering.newest == (230_000, 19_000, 4_000_000), "protection sees it at once"
    assert metering.reading() == {"voltage_mv": 230_000, "current_ma": 431, "power_mw": 98_200, "energy_mwh": 54}


@pytest.mark.parametrize(
    "sample", [(400_001, 431, 98_200, 10**9), (230_000, 20_001, 98_200, 10**9), (230_000, 431, 8_000_001, 10**9)]
)
def test_what_no_socket_can_carry_is_shown_to_the_protection_alone(metering: Metering, feed: Feed, sample: Any) -> None:
    play(metering, feed, (230_000, 431, 98_200, 0))
    assert play(metering, feed, sample, None) == [True, False]
    assert (metering.rejected, metering.newest) == (1, sample[:3])
    reading = metering.reading()
    assert (reading["power_mw"], reading["energy_mwh"]) == (98_200, 0)


def test_values_that_had_no_turn_yet_are_left_out(metering: Metering, feed: Feed) -> None:
    play(metering, feed, (None, None, 1000, 0))
    assert metering.reading() == {"power_mw": 1000, "energy_mwh": 0}


def test_a_calibration_is_kept_and_applied() -> None:
    flash = Flash(2 * SECTOR_SIZE)
    record = Record(flash, 0, CALIBRATION_SLOT_SIZE)
    Calibration(record).save(gain_of(90_000, 99_000), 1_000_000, gain_of(232_300, 230_000))
    again = Calibration(Record(flash, 0, CALIBRATION_SLOT_SIZE))
    assert again.gains_ppm == (1_100_000, 1_000_000, 990_099)
    with pytest.raises(ValueError, match="gain"):
        again.save(2_000_001, 1_000_000, 1_000_000)
    assert Calibration(Record(flash, 0, CALIBRATION_SLOT_SIZE)).gains_ppm == again.gains_ppm


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_board_file_is_good_in_micropython_too(worker: Worker, path: Any) -> None:
    text = path.read_text()
    assert board.read_board(text)["name"] == path.stem
    assert worker.call("board", "read_board", text) == here(board.read_board, text)


def test_there_is_a_board_for_every_chip() -> None:
    assert {json.loads(path.read_text())["meter"]["driver"] for path in BOARDS} == set(board.METERS)


WRONG: list[tuple[str, Any, str]] = [
    ("relay.pin", 4, "doubled"),
    ("relay.pin", 34, "relay.pin: 0 to 33"),
    ("relay.pin", 6, "flash"),
    ("relay.pin", True, "relay.pin"),
    ("relay.active_low", 1, "relay.active_low"),
    ("button", None, "button: not an object"),
    ("name", "", "name"),
    ("led.blink", 3, "led.blink: unknown"),
    ("meter.driver", "ade7953", "meter.driver"),
    ("meter.shunt_uohm", 0, "meter.shunt_uohm"),
    ("meter.rx", 3, "meter.rx: unknown"),
    ("meter.sel_active_low", 0, "meter.sel_active_low: true or false"),
    ("rating.max_current_ma", 63_000, "rating.max_current_ma: 1000 to 20000"),
    ("rating.max_temperature_mc", None, "rating.max_temperature_mc"),
]


@pytest.mark.parametrize(("member", "value", "message"), WRONG)
def test_a_wrong_member_is_named(member: str, value: Any, message: str) -> None:
    described = json.loads((FIRMWARE / "boards" / "pulse-bl0937.json").read_text())
    part, _, name = member.partition(".")
    if name:
        described[part][name] = value
    else:
        described[part] = value
    with pytest.raises(board.BadBoard, match=message):
        board.read_board(json.dumps(described))


@pytest.mark.parametrize("member", ["name", "relay", "meter"])
def test_a_missing_member_is_named(member: str) -> None:
    described = json.loads((FIRMWARE / "boards" / "uart-bl0942.json").read_text())
    del described[member]
    with pytest.raises(board.BadBoard, match=f"{member}: missing"):
        board.read_board(json.dumps(described))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.text("abc", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "relay", "meter", "pin"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(described=JSON)
def test_any_other_json_is_refused_with_a_reason(described: Any) -> None:
    with pytest.raises(board.BadBoard, match=r"."):
        board.read_board(json.dumps(described))
