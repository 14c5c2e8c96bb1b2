"""The socket in the wall, with each metering chip: overloads, trips, welds, meters out of order, and true values."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.firmware.bench import DRIVERS, SocketBench

# What the chip needs to show an overload comes on top of the protection's own second: see firmware_mpy/README.md.
OPENS_WITHIN_MS = {"pulse-bl0937": 2_150, "pulse-hlw8012": 2_150, "uart-cse7766": 1_150, "uart-bl0942": 1_350}
CURRENT_OPENS_WITHIN_MS = {**OPENS_WITHIN_MS, "pulse-bl0937": 3_550, "pulse-hlw8012": 3_550}
"""With pulses the current has a line in turns with the voltage; the power has one of its own."""
LATE_TIMER_MS = 550
"""What a timer that is late by 10 ms of 50 adds to windows of 2.5 s."""
DEFAULT_MW = 3_680_000
PULSE_DRIVERS = DRIVERS[:2]

overloads = st.lists(st.tuples(st.integers(100, 900), st.integers(3_800_000, 20_000_000)), min_size=1, max_size=6)


@pytest.mark.parametrize("driver", DRIVERS)
@given(before=st.integers(0, 3_600_000), wave=overloads, start_ms=st.integers(0, 20_000))
@settings(max_examples=12, deadline=None)
def test_any_overload_opens_the_relay_in_time_however_late_the_loop_is(
    driver: str, before: int, wave: list[tuple[int, int]], start_ms: int
) -> None:
    bench = SocketBench(driver, [(60_000, before, 1000)], start_ms=start_ms)
    bench.socket.switch(True)
    bench.run(4_000)
    assert bench.socket.relay
    bench.plug_in([(duration_ms, power_mw, 1000) for duration_ms, power_mw in wave])
    bench.run(OPENS_WITHIN_MS[driver], loop_is_late=True)
    assert not bench.socket.relay
    bench.run(100)
    [trip] = bench.events("trip")
    assert trip["cause"] in ("over_power", "over_current")
    assert trip["power_mw"] > DEFAULT_MW or trip["current_ma"] > 16_000


@pytest.mark.parametrize(
    ("driver", "fault"), [*((driver, "") for driver in DRIVERS), *((driver, "no_cf") for driver in PULSE_DRIVERS)]
)
@given(
    apparent_mva=st.integers(3_750_000, 20_000_000),
    factor=st.integers(200, 1000),
    start_ms=st.integers(0, 2_500),
    jitter=st.none() | st.randoms(use_true_random=False),
)
@example(apparent_mva=3_750_000, factor=500, start_ms=1_050, jitter=None)
@example(apparent_mva=16_371_788, factor=200, start_ms=1_171, jitter=None)
@settings(max_examples=12, deadline=None)
def test_any_power_factor_and_a_late_timer_leave_the_current_its_time(
    driver: str, fault: str, apparent_mva: int, factor: int, start_ms: int, jitter: Random | None
) -> None:
    bench = SocketBench(driver, [(60_000, 100_000, 1000)])
    bench.socket.switch(True)
    bench.run(4_000 + start_ms, jitter=jitter)
    bench.plug_in([(60_000, apparent_mva * factor // 1000, factor)])
    bench.board.mains.fault = fault
    bench.run(CURRENT_OPENS_WITHIN_MS[driver] + (LATE_TIMER_MS if jitter else 0), loop_is_late=True, jitter=jitter)
    assert not bench.socket.relay


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_load_within_the_rating_trips(driver: str) -> None:
    bench = SocketBench(driver, [(300, 3_600_000, 1000), (500, 40_000, 600), (2_000, 3_500_000, 990)])
    bench.socket.switch(True)
    bench.run(120_000)
    assert bench.socket.relay
    assert not bench.events("trip")


@pytest.mark.parametrize("driver", DRIVERS)
def test_energy_and_values_are_what_has_flowed(driver: str) -> None:
    bench = SocketBench(driver, [(7_000, 1_840_000, 1000), (3_000, 230_000, 500)])
    bench.run(2_000)
    bench.socket.switch(True)
    bench.run(600_000)
    true_mwh = bench.board.mains.true_mw_ms / 3_600_000
    assert bench.socket.energy.energy_mwh == pytest.approx(true_mwh, rel=0.01)
    bench.plug_in([(60_000, 1_150_000, 1000)])
    bench.run(6_000)
    reading = bench.socket.reading()
    assert reading["power_mw"] == pytest.approx(1_150_000, rel=0.01)
    assert reading["voltage_mv"] == pytest.approx(230_000, rel=0.01)
    assert reading["current_ma"] == pytest.approx(5_000, rel=0.01)
    assert reading["relay"] is True


def test_a_warning_comes_first_and_a_trip_is_latched_until_somebody_clears_it() -> None:
    bench = SocketBench(load=[(60_000, 3_500_000, 1000)])
    bench.socket.switch(True)
    bench.run(3_000)
    assert [event["cause"] for event in bench.events("warning")] == ["over_current"]
    bench.plug_in([(60_000, 4_000_000, 1000)])
    bench.run(2_000)
    assert not bench.socket.relay
    assert bench.socket.refusal(True) == "tripped"
    assert bench.lit(2_000).count("#") == 4
    bench.plug_in([(60_000, 100_000, 1000)])
    bench.press(300)
    assert (bench.socket.refusal(True), bench.socket.relay) == ("", False)
    assert len(bench.events("trip_cleared")) == 1
    bench.press(300)
    assert bench.socket.relay
    assert [event["relay"] for event in bench.events("switched")] == [True]


def test_a_trip_outlives_a_restart_and_is_cleared_by_switching_off() -> None:
    bench = SocketBench(load=[(60_000, 5_000_000, 1000)])
    bench.socket.switch(True)
    bench.run(1_000)
    assert bench.socket.cause_of_trip() == "over_current"
    bench.power_cycle()
    assert (bench.socket.relay, bench.socket.refusal(True)) == (False, "tripped")
    bench.socket.switch(False)
    assert bench.socket.refusal(True) == ""
    bench.power_cycle()
    assert bench.socket.refusal(True) == ""


def _tripped(bench: SocketBench) -> None:
    """The interrupt has opened the relay, and the loop has not come to it yet."""
    bench.plug_in([(60_000, 5_000_000, 1000)])
    bench.socket.switch(True)
    bench.run(1_000, loop_is_late=True)
    assert not bench.socket.relay


def test_a_trip_that_the_flash_refused_is_kept_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = SocketBench()
    write = bench.board.flashes["state"].write
    bench.socket.switch(True)
    bench.run(1_000)
    monkeypatch.setattr(bench.board.flashes["state"], "write", lambda at, data: None)
    bench.plug_in([(60_000, 5_000_000, 1000)])
    bench.run(1_000)
    assert bench.socket.faults == 1
    monkeypatch.setattr(bench.board.flashes["state"], "write", write)
    bench.run(11_000)
    bench.start(power_cut=False)
    assert (bench.socket.relay, bench.socket.refusal(True)) == (False, "tripped")


@pytest.mark.parametrize("by", ["button", "command"])
def test_a_trip_can_be_cleared_before_the_loop_has_kept_it(by: str) -> None:
    bench = SocketBench()
    _tripped(bench)
    if by == "button":
        bench._hold(True)
        bench.run(300, loop_is_late=True)
        bench._hold(False)
        bench.run(100, loop_is_late=True)
        bench.run(50)
    else:
        bench.socket.switch(False)
    bench.run(1_000)
    assert bench.socket.refusal(True) == ""
    told = [(event["event"], event.get("cause")) for event in bench.told]
    assert told == [("trip", "over_current"), ("trip_cleared", None)][: 2 if by == "button" else 1]
    bench.start()
    assert bench.socket.refusal(True) == ""


def test_a_command_that_was_on_its_way_does_not_close_a_relay_that_has_just_tripped() -> None:
    bench = SocketBench()
    _tripped(bench)
    bench.socket.switch(True)
    assert not bench.socket.relay
    bench.run(100)
    assert bench.socket.refusal(True) == "tripped"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_welded_relay_is_told_and_nothing_else_is_mistaken_for_one(driver: str) -> None:
    bench = SocketBench(driver, [(60_000, 2_000_000, 1000)])
    for _ in range(3):
        bench.socket.switch(True)
        bench.run(5_350)
        bench.socket.switch(False)
        bench.run(6_000)
    assert not bench.events("trip")
    bench.board.mains.welded = True
    bench.run(10_000)
    assert [event["cause"] for event in bench.events("trip")] == ["welded_relay"]
    assert "#" in bench.lit(1_000)


# Pulses have no frame that could be wrong.
@pytest.mark.parametrize(
    ("driver", "fault"),
    [
        *((driver, "silent") for driver in DRIVERS),
        ("uart-cse7766", "noise"),
        ("uart-cse7766", "frozen"),
        ("uart-bl0942", "noise"),
        ("uart-bl0942", "frozen"),
    ],
)
def test_a_meter_out_of_order_opens_the_relay_and_no_reading_is_made_up(driver: str, fault: str) -> None:
    bench = SocketBench(driver)
    bench.socket.switch(True)
    bench.run(5_000)
    assert bench.socket.reading() is not None
    bench.board.mains.fault = fault
    # Repetition is seen after 5 s, and then told from silence no more.
    bench.run(11_000 if fault == "frozen" else 9_000)
    assert not bench.socket.relay
    assert [event["cause"] for event in bench.events("trip")] == ["sensor_fault"]
    assert bench.socket.reading() is None


def test_a_chip_that_repeats_itself_below_what_it_counts_is_out_of_order_too() -> None:
    bench = SocketBench(load=[(60_000, 5_000, 1000)])
    bench.socket.switch(True)
    bench.run(600_000)
    assert bench.socket.relay
    bench.board.mains.fault = "frozen"
    bench.run(310_000)
    assert [event["cause"] for event in bench.events("trip")] == ["sensor_fault"]


@pytest.mark.parametrize("driver", PULSE_DRIVERS)
def test_a_line_of_the_power_that_breaks_is_told_although_the_current_is_within_its_limit(driver: str) -> None:
    bench = SocketBench(driver)
    bench.socket.switch(True)
    bench.run(5_000)
    bench.board.mains.fault = "no_cf"
    bench.run(10_500)
    assert [event["cause"] for event in bench.events("trip")] == ["sensor_fault"]


@pytest.mark.parametrize("driver", PULSE_DRIVERS)
def test_a_load_that_is_switched_off_and_on_is_no_broken_line(driver: str) -> None:
    bench = SocketBench(driver, [(3_300, 2_000_000, 1000), (7_700, 0, 1000), (400, 500_000, 300), (9_000, 0, 1000)])
    bench.socket.switch(True)
    bench.run(120_000)
    assert (bench.socket.relay, bench.events("trip")) == (True, [])
