"""The metering chips: golden frames, the datasheets' formulas, garbage on the line, and MicroPython's integers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import bl0937
import bl0942
import calibrating
import cse7766
import frames
import hal
import hlw8012
import metering
import pulse_meter
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uart_meter import Bl0942Meter, Cse7766Meter

from tests.firmware.micropython import Worker, here

# Recorded from CSE7766 of sold sockets, as published with several open drivers: with a load, and without.
LOADED = bytes.fromhex("555A02E950000331003E9E000D304F44F800126 5F1817672".replace(" ", ""))
UNLOADED = bytes.fromhex("F25A02E95000032B003E9E02D77C4F44F8CFA55DE1B32AB4")

SHUNTS = st.integers(100, 100_000)
DIVIDERS = st.integers(100_000, 10_000_000)


def cse_frame(state: int, numbers: tuple[int, ...], adj: int, pulses: int) -> bytes:
    body = b"".join(number.to_bytes(3, "big") for number in numbers) + bytes((adj,)) + pulses.to_bytes(2, "big")
    return bytes((state, 0x5A)) + body + bytes((sum(body) & 0xFF,))


def bl_frame(current: int, voltage: int, power: int, pulses: int, period: int) -> bytes:
    registers = (current, voltage, 0, power & 0xFFFFFF, pulses)
    body = b"\x55" + b"".join(number.to_bytes(3, "little") for number in registers)
    body += period.to_bytes(2, "little") + bytes(4)
    return body + bytes((~(0x58 + sum(body)) & 0xFF,))


def test_recorded_frames_of_a_cse7766() -> None:
    # 0x02E950/0x331 V, 0x3E9E/0xD30 A, 0x4F44F8/0x1265 W.
    assert cse7766.read_frame(LOADED) == (233_537, 4_748, 1_103_207, True, 0x8176, 0x4F44F8)
    voltage, current, power, *_ = cse7766.read_frame(UNLOADED)
    assert (voltage, current, power) == (235_265, 86, 0)


@pytest.mark.parametrize("position", range(24))
def test_a_changed_byte_spoils_a_frame(position: int) -> None:
    broken = bytearray(LOADED)
    broken[position] ^= 0x20
    assert cse7766.read_frame(bytes(broken)) is None


def test_a_cse7766_without_its_coefficients_tells_nothing() -> None:
    assert cse7766.read_frame(b"\xf1" + LOADED[1:]) is None
    assert cse7766.read_frame(b"\xaa" + LOADED[1:]) is None


def test_a_bl0942_packet_in_the_datasheets_formulas() -> None:
    # 1 A and 230 V at 1 mΩ and (5 x 390 kΩ + 510 Ω) / 510 Ω; 50 Hz.
    divider = Fraction(1_950_510, 510)
    current = round(Fraction(305978 * 1000, 1218))
    voltage = round(Fraction(73989 * 1000, 1218) * 230 * 1000 / divider)
    power = round(Fraction(3537 * 1000 * 1000, 1218 * 1218) * 230 * 1000 / divider)
    raw = bl0942.read_frame(bl_frame(current, voltage, -power, 12, 20_000))
    assert raw == (voltage, current, -power, 12, 50_000)
    factors = bl0942.factors(1000, round(divider * 1000))
    assert [bl0942.scaled(value, factor) for value, factor in zip((power, current, voltage), factors, strict=True)] == [
        pytest.approx(230_000, abs=3),
        1000,
        pytest.approx(230_000, abs=3),
    ]


@given(shunt=SHUNTS, divider=DIVIDERS)
def test_pulse_factors_follow_the_datasheets(shunt: int, divider: int) -> None:
    vref, ohm, ratio = Fraction(1218, 1000), Fraction(shunt, 10**6), Fraction(divider, 1000)
    exact = (vref**2 / 1721506 / ohm * ratio, vref / 94638 / ohm, vref / 15397 * ratio)
    assert bl0937.factors(shunt, divider) == tuple(int(value * 10**6) for value in exact)
    vref, fosc = Fraction(2430, 1000), 3_579_000
    exact = (vref**2 / 48 * 128 / fosc / ohm * ratio, vref / 24 * 512 / fosc / ohm, vref / 2 * 512 / fosc * ratio)
    assert hlw8012.factors(shunt, divider) == tuple(int(value * 10**6) for value in exact)


NUMBERS = st.tuples(*[st.integers(0, 0xFFFFFF)] * 6)
GOOD = st.builds(cse_frame, st.sampled_from([0x55, 0xF2, 0xFC]), NUMBERS, st.integers(0, 255), st.integers(0, 65535))


@given(parts=st.lists(st.tuples(st.binary(max_size=60), GOOD), max_size=8), cuts=st.integers(1, 50))
def test_good_frames_are_found_among_garbage(parts: list[tuple[bytes, bytes]], cuts: int) -> None:
    # Garbage of one value cannot be the start of a frame, nor make one whole.
    stream = b"".join(bytes(len(garbage)) + frame for garbage, frame in parts)
    finder = frames.FrameFinder(24, cse7766.read_frame)
    found = [said for at in range(0, len(stream), cuts) for said in finder.feed(stream[at : at + cuts])]
    expected = [cse7766.read_frame(frame) for _, frame in parts]
    assert None not in expected
    # A false frame would need 0x55 or 0xF?, 0x5A and a right checksum by chance inside of a good one.
    assert found == expected
    assert finder.skipped + 24 * len(parts) + len(finder._held) == len(stream)


@given(stream=st.binary(max_size=300), cuts=st.integers(1, 50))
def test_any_garbage_is_survived_in_bounded_memory(stream: bytes, cuts: int) -> None:
    finder = frames.FrameFinder(23, bl0942.read_frame)
    for at in range(0, len(stream), cuts):
        finder.feed(stream[at : at + cuts])
        assert len(finder._held) < 23
    zeros = bytes(23)
    finder.feed(zeros)
    assert finder.feed(bl_frame(1, 2, 3, 4, 5)) == [(2, 1, 3, 4, 200_000_000)]


STEADY = st.builds(
    lambda values, step: [[value + step * (at % 2) for value in values] for at in range(20)],
    st.tuples(*[st.integers(90_000, 4_000_000)] * 3),
    st.integers(0, 4_000),
)
CALLS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "cse7766.read_frame": (cse7766.read_frame, st.tuples(GOOD | st.binary(min_size=24, max_size=24))),
    "bl0942.read_frame": (
        bl0942.read_frame,
        st.tuples(
            st.builds(
                bl_frame,
                *[st.integers(0, 0xFFFFFF)] * 2,
                st.integers(-(2**23), 2**23 - 1),
                st.integers(0, 0xFFFFFF),
                st.integers(0, 0xFFFF),
            )
        ),
    ),
    "bl0942.factors": (bl0942.factors, st.tuples(SHUNTS, DIVIDERS)),
    "bl0942.scaled": (bl0942.scaled, st.tuples(st.integers(-(2**23), 2**24), st.integers(0, 2**53))),
    "bl0937.factors": (bl0937.factors, st.tuples(SHUNTS, DIVIDERS)),
    "hlw8012.factors": (hlw8012.factors, st.tuples(SHUNTS, DIVIDERS)),
    "pulse_meter.rate": (
        pulse_meter.rate,
        st.tuples(st.integers(0, 100_000), st.integers(0, 2**40), st.integers(1, 60_000)),
    ),
    "metering.calibrated": (metering.calibrated, st.tuples(st.integers(0, 2**50), st.integers(500_000, 2_000_000))),
    "calibrating.new_gains": (
        calibrating.new_gains,
        st.tuples(
            st.dictionaries(st.sampled_from(["power_mw", "current_ma", "voltage_mv"]), st.integers(100, 8_000_000)),
            STEADY | st.lists(st.tuples(*[st.none() | st.integers(0, 2**24)] * 3), max_size=20),
            st.tuples(*[st.integers(500_000, 2_000_000)] * 3),
        ),
    ),
    "calibrating.is_readable": (
        calibrating.is_readable,
        st.tuples(
            st.dictionaries(st.text(max_size=4), st.none())
            | st.fixed_dictionaries({"power_mw": st.none() | st.integers(9_000, 11_000) | st.booleans()})
            | st.none()
        ),
    ),
    "metering.median": (metering.median, st.tuples(*[st.integers(-(2**40), 2**40)] * 3)),
    "metering.is_possible": (
        metering.is_possible,
        st.tuples(*[st.none() | st.integers(-10, 500_000)] * 2, st.integers(-10, 2**24)),
    ),
    "hal.ticks_diff": (hal.ticks_diff, st.tuples(*[st.integers(0, 2**30 - 1)] * 2)),
}


@pytest.mark.parametrize("name", CALLS)
def test_micropython_answers_the_same(worker: Worker, name: str) -> None:
    function, arguments = CALLS[name]
    module, _, attribute = name.partition(".")

    @settings(max_examples=60, deadline=None)
    @given(arguments)
    def compare(values: tuple[Any, ...]) -> None:
        assert worker.call(module, attribute, *values) == here(function, *values)

    compare()


def test_a_cse7766_on_the_line_counts_energy_by_its_pulses() -> None:
    meter = Cse7766Meter(hal.Uart(1, 17, 16, cse7766.BAUD, cse7766.EVEN_PARITY), 0)
    numbers = (190_800, 817, 16_030, 3376, 5_195_000, 4709)
    line = hal.board.lines[1]
    line[:] = b"\x00\x5a" + cse_frame(0x55, numbers, 0xF1, 65_530)
    assert meter.sample(0) == (233_537, 4_748, 1_103_207, 0)
    hal.board.lines[1].extend(cse_frame(0x55, numbers, 0xF1, 65_535) + b"\x55" + cse_frame(0x55, numbers, 0xF1, 4))
    assert meter.sample(0) == (233_537, 4_748, 1_103_207, 10 * 5_195_000)
    assert meter.sample(0) is None
    hal.board.lines[1].extend(cse_frame(0x55, numbers, 0xF1, 0x3300))
    assert meter.sample(0)[3] == 0, "a low byte of 0 makes the count void"
    hal.board.lines[1].extend(cse_frame(0x55, numbers, 0xF1, 9))
    assert meter.sample(0)[3] == 5 * 5_195_000
    hal.board.lines[1].extend(cse_frame(0x55, numbers, 0xF1, 60_000))
    assert meter.sample(0)[3] == 0, "the chip started anew: no jump of the energy"


def test_power_falls_while_a_cycle_takes_longer_and_longer() -> None:
    meter = Cse7766Meter(hal.Uart(1, 17, 16, cse7766.BAUD, cse7766.EVEN_PARITY), 0)
    seen = []
    for cycle, adj in ((4709, 0xF1), (3000, 0xE1), (90_000, 0xE1), (900_000, 0xE1)):
        hal.board.lines[1].extend(cse_frame(0x55, (190_800, 817, 16_030, 3376, 5_195_000, cycle), adj, 7))
        seen.append(meter.sample(0)[2])
    assert seen == [1_103_207, 1_103_207, 57_722, 5_772]


def test_a_bl0942_is_asked_again_and_its_energy_is_power_by_time() -> None:
    hal.board.use_virtual_clock()
    factors = bl0942.factors(1000, 3_824_529)
    meter = Bl0942Meter(hal.Uart(2, 17, 16, bl0942.BAUD, bl0942.EVEN_PARITY), factors, hal.ticks_ms())
    hal.board.advance(1000)
    hal.board.lines[2].extend(bl_frame(251_213, 3_652_960, -143_370, 3, 20_000))
    voltage, current, power, energy = meter.sample(hal.ticks_ms())
    assert (voltage, current) == (pytest.approx(230_000, abs=30), 1000)
    assert power == pytest.approx(230_000, abs=100)
    assert energy == power * 1000
    assert bytes(hal.board.sent[2]) == b"\x58\xaa\x58\xaa"


CSE_NUMBERS = (190_800, 817, 16_030, 3376, 5_195_000, 4709)
HOUR_MS = 3_600_000


def test_what_a_cse7766_has_counted_while_nobody_asked_is_energy() -> None:
    meter = Cse7766Meter(hal.Uart(1, 17, 16, cse7766.BAUD, cse7766.EVEN_PARITY), 0)
    seen = []
    for now, pulses in ((0, 100), (5_000, 3_600), (5_050, 6_000), (65_050, 40_000)):
        hal.board.lines[1].extend(cse_frame(0x55, CSE_NUMBERS, 0xF1, pulses))
        seen.append(meter.sample(now)[3])
    assert seen == [0, 3_500 * 5_195_000, 0, 0], "and more than a load can make is none"


def test_a_meter_that_repeats_itself_stays_out_of_order_for_weeks() -> None:
    hal.board.use_virtual_clock()
    factors = bl0942.factors(1000, 3_824_529)
    idle = cse_frame(0xF6, CSE_NUMBERS, 0xF1, 7)
    for meter, unit, frame, still_ms in (
        (Cse7766Meter(hal.Uart(1, 17, 16, 4800, True), 0), 1, cse_frame(0x55, CSE_NUMBERS, 0xF1, 7), 5_000),
        (Cse7766Meter(hal.Uart(1, 17, 16, 4800, True), 0), 1, idle, 300_000),
        (Bl0942Meter(hal.Uart(2, 17, 16, 4800, False), factors, 0), 2, bl_frame(1, 2, 3, 4, 20_000), 5_000),
    ):
        for now in (50, still_ms // 2, still_ms, *range(2 * HOUR_MS, 21 * 24 * HOUR_MS, HOUR_MS)):
            hal.board.lines[unit].extend(frame)
            assert (meter.sample(now & (2**30 - 1)) is None) is (now > still_ms)


@pytest.mark.parametrize(("silent_ms", "counted_ms"), [(4_000, 4_000), (50_000, 0)])
def test_a_bl0942_counts_nothing_for_a_time_of_which_it_knows_nothing(silent_ms: int, counted_ms: int) -> None:
    meter = Bl0942Meter(hal.Uart(2, 17, 16, 4800, False), bl0942.factors(1000, 3_824_529), 0)
    hal.board.lines[2].extend(bl_frame(251_213, 3_652_960, 143_370, 3, 20_000))
    meter.sample(50)
    hal.board.lines[2].extend(bl_frame(251_213, 3_652_961, 143_370, 3, 20_000))
    _, _, power, energy = meter.sample(50 + silent_ms)
    assert energy == power * counted_ms
