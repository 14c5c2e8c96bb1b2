"""The socket in the wall, with each metering chip: protection, welds, faults, button, LED, power cuts, energy."""

from __future__ import annotations

from typing import Any

import flash_layout
import pytest
from flash import PowerCut
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.firmware.bench import DRIVERS, SocketBench

# What the chip needs to show an overload comes on top of the protection's own second: see firmware_mpy/README.md.
OPENS_WITHIN_MS = {"pulse-bl0937": 2_150, "pulse-hlw8012": 2_150, "uart-cse7766": 1_150, "uart-bl0942": 1_350}
DEFAULT_MW = 3_680_000
WITHOUT_POWER_MS = 3_500
"""Current and voltage take turns of 1.5 s on the other line."""

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


@pytest.mark.parametrize("driver", ["pulse-bl0937", "pulse-hlw8012"])
@given(power_mw=st.integers(3_800_000, 20_000_000), turn_ms=st.integers(0, 3_000))
@settings(max_examples=10, deadline=None)
def test_without_the_line_that_tells_the_power_the_current_opens_the_relay(
    driver: str, power_mw: int, turn_ms: int
) -> None:
    bench = SocketBench(driver)
    bench.socket.switch(True)
    bench.run(3_000 + turn_ms)
    bench.plug_in([(60_000, power_mw, 1000)])
    bench.board.mains.fault = "no_cf"
    bench.run(WITHOUT_POWER_MS, loop_is_late=True)
    assert not bench.socket.relay


@pytest.mark.parametrize(
    ("name", "kept", "default"),
    [
        ("configuration", b'{"settings":{},"version":3}', 0),
        ("configuration", b'{"config":[],"version":3}', 0),
        ("configuration", b"7", 0),
        ("configuration", b"{", 0),
        ("energy", (77).to_bytes(8, "little") + b"more", 77),
        ("energy", b"short", 0),
        ("calibration", b"\x00" * 4 * 5, 0),
        ("calibration", b"short", 0),
    ],
)
def test_what_another_firmware_kept_does_not_keep_this_one_from_starting(name: str, kept: bytes, default: int) -> None:
    bench = SocketBench()
    flash_layout.record(name).save(kept)
    bench.start()
    bench.socket.switch(True)
    bench.run(2_000)
    assert bench.socket.relay
    told = {"energy": bench.socket.energy.energy_mwh, "configuration": bench.socket.configuration.version}
    # 500 W for 2 s.
    assert 0 <= told.get(name, 0) - default < 300
    assert bench.socket.reading()["voltage_mv"] == pytest.approx(230_000, rel=0.01)


@pytest.mark.parametrize("part", ["EnergyCounter", "new_meter", "Calibration", "hal.InputPin", "hal.Timer"])
def test_a_start_that_fails_on_the_way_leaves_the_load_off(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("refused")

    bench = SocketBench()
    bench.socket.switch(True)
    monkeypatch.setattr(f"smart_socket.{part}", fails)
    with pytest.raises(ValueError, match="refused"):
        bench.start()
    relay = bench.description["relay"]
    assert bench.board.levels[relay["pin"]] is relay["active_low"]


@pytest.mark.parametrize(
    ("power_on", "was_on", "after_cut", "after_restart"),
    [("off", True, False, True), ("on", False, True, False), ("last", True, True, True), (None, False, False, False)],
)
def test_a_power_cut_and_a_restart_leave_the_load_as_configured(
    power_on: str | None, was_on: bool, after_cut: bool, after_restart: bool
) -> None:
    bench = SocketBench()
    assert bench.socket.configure({"power_on": power_on} if power_on else {}, 1)
    bench.socket.switch(was_on)
    bench.run(61_000)
    bench.start(power_cut=False)
    assert bench.socket.relay is after_restart
    bench.run(61_000)
    bench.power_cycle()
    assert bench.socket.relay is after_cut


def test_a_load_that_takes_the_mains_with_it_is_left_off() -> None:
    bench = SocketBench()
    bench.socket.switch(True)
    bench.run(61_000)
    for _ in range(3):
        bench.power_cycle()
        bench.run(2_000)
        assert bench.socket.relay
    bench.power_cycle()
    assert not bench.socket.relay
    assert bench.events("load_left_off")[0]["cause"] == "outages"
    bench.run(61_000)
    bench.start(power_cut=False)
    assert not bench.socket.relay, "nobody has switched it on again"


def test_in_safe_mode_the_load_stays_off() -> None:
    bench = SocketBench()
    bench.socket.switch(True)
    bench.start(power_cut=False, safe_mode=True)
    assert (bench.socket.relay, bench.socket.refusal(True)) == (False, "safe_mode")
    bench.press(300)
    assert not bench.socket.relay
    bench.start(power_cut=False)
    assert bench.socket.relay, "what was before safe mode comes back"


def test_safe_mode_does_not_forget_a_trip() -> None:
    bench = SocketBench(load=[(60_000, 5_000_000, 1000)])
    bench.socket.switch(True)
    bench.run(1_000)
    bench.start(power_cut=False, safe_mode=True)
    bench.run(1_000)
    assert bench.socket.cause_of_trip() == "over_current"
    bench.start(power_cut=False)
    assert (bench.socket.relay, bench.socket.refusal(True)) == (False, "tripped")


@pytest.mark.parametrize(
    ("held_ms", "asked_for", "toggles"),
    [(0, 0, False), (300, 0, True), (1_400, 0, True), (3_000, 0, False), (6_000, 2, False), (16_000, 3, False)],
)
def test_what_a_press_means(held_ms: int, asked_for: int, toggles: bool) -> None:
    bench = SocketBench()
    bench.press(held_ms)
    assert (bench.socket.asked_for, bench.socket.relay) == (asked_for, toggles)


def test_a_button_that_is_down_at_the_start_means_nothing() -> None:
    bench = SocketBench()
    bench.start(button_down=True)
    bench.run(20_000)
    bench.release()
    assert (bench.socket.asked_for, bench.socket.relay) == (0, False)
    bench.press(300)
    assert bench.socket.relay


def test_the_led_tells_what_is_going_on() -> None:
    bench = SocketBench()
    assert bench.lit(2_000).count("#") == 1
    bench.socket.switch(True)
    assert bench.lit(2_000).count("#") == 19
    bench.socket.state["online"] = True
    assert bench.lit(1_000) == "#" * 10
    bench.socket.identify()
    assert set(bench.lit(400)) == {"#", "."}
    bench.run(15_000)
    assert bench.lit(1_000) == "#" * 10
    bench.socket.switch(False)
    assert bench.lit(1_000) == "." * 10


def test_a_configuration_that_cannot_work_is_refused_and_the_one_before_stays() -> None:
    bench = SocketBench(load=[(60_000, 1_000_000, 1000)])
    assert bench.socket.configure({"interval_ms": 2_000, "max_power_mw": 2_000_000}, 3)
    assert not bench.socket.configure({"min_voltage_mv": 300_000}, 4)
    assert not bench.socket.configure({"max_current_ma": 16_001}, 4)
    assert (bench.socket.interval_ms, bench.socket.configuration.version) == (2_000, 3)
    bench.start()
    assert (bench.socket.interval_ms, bench.socket.configuration.version) == (2_000, 3)
    bench.socket.switch(True)
    bench.run(3_000)
    assert bench.socket.relay
    bench.plug_in([(60_000, 2_100_000, 1000)])
    bench.run(2_000)
    assert bench.socket.cause_of_trip() == "over_power"


def _a_life(bench: SocketBench) -> None:
    """Everything that writes the flash of records: switching, a trip, configurations, minutes of energy."""
    bench.socket.switch(True)
    bench.run(61_000)
    bench.socket.configure({"interval_ms": 5_000, "power_on": "on"}, 7)
    bench.run(61_000)
    bench.plug_in([(60_000, 6_000_000, 1000)])
    bench.run(1_000)
    bench.socket.switch(False)
    bench.socket.configure({"interval_ms": 6_000}, 8)
    bench.socket.rest()


def _operations() -> int:
    bench = SocketBench()
    _a_life(bench)
    return int(bench.board.flashes["state"].operations)


@pytest.mark.parametrize("torn", range(4))
def test_a_power_cut_at_every_write_leaves_a_socket_that_starts(torn: int) -> None:
    for cut_after in range(_operations()):
        bench = SocketBench()
        flash = bench.board.flashes["state"]
        flash.cut_after, flash.torn = cut_after - flash.operations, torn + 4 * cut_after
        if flash.cut_after < 0:
            continue
        counted = 0
        with pytest.raises(PowerCut):
            _a_life(bench)
        counted, flash.cut_after = bench.socket.energy.energy_mwh, None
        bench.power_cycle()
        # 500 W for a minute.
        assert counted - 500_000 / 60 - 1 <= bench.socket.energy.energy_mwh <= counted, cut_after
        assert bench.socket.configuration.version in (0, 7, 8)
        expected: dict[int, Any] = {0: 10_000, 7: 5_000, 8: 6_000}
        assert bench.socket.interval_ms == expected[bench.socket.configuration.version]
        bench.socket.switch(False)
        bench.socket.switch(True)
        assert bench.socket.relay
