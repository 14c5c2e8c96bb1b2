"""The socket in the wall: what it keeps over restarts and power cuts, button, LED, configuration."""

from __future__ import annotations

from typing import Any

import flash_layout
import pytest
from flash import PowerCut

from tests.firmware.bench import DRIVERS, SocketBench


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


@pytest.mark.parametrize(
    "config", [{}, {"power_on": "outage-aware"}, {"power_on": "last"}, {"power_on": "on"}], ids=str
)
def test_a_load_that_takes_the_mains_with_it_is_left_off_unless_told_otherwise(config: dict[str, Any]) -> None:
    bench = SocketBench()
    assert bench.socket.configure(config, 1)
    bench.socket.switch(True)
    bench.run(61_000)
    for _ in range(3):
        bench.power_cycle()
        bench.run(2_000)
        assert bench.socket.relay
    bench.power_cycle()
    if config.get("power_on") in ("last", "on"):
        assert bench.socket.relay
        assert not bench.events("load_left_off")
        return
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


REFERENCE = {"power_mw": 2_060_000, "current_ma": 8_522, "voltage_mv": 232_300}
KETTLE = [(600_000, 2_000_000, 1000)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_calibrated_meter_agrees_with_the_trusted_one_from_then_on_and_after_a_power_cut(driver: str) -> None:
    bench = SocketBench(driver, KETTLE)
    bench.socket.switch(True)
    bench.run(15_000)
    counted = bench.socket.energy.energy_mwh
    assert bench.socket.calibrate(REFERENCE) == ""
    assert bench.socket.energy.energy_mwh == counted
    [told] = bench.events("calibrated")
    assert (told["power_ppm"], told["current_ppm"], told["voltage_ppm"]) == pytest.approx(
        (1_030_000, 980_000, 1_010_000), rel=0.01
    )
    for _ in range(2):
        bench.run(6_000)
        reading = bench.socket.reading()
        assert {name: reading[name] for name in REFERENCE} == pytest.approx(REFERENCE, rel=0.005)
        bench.power_cycle()
        bench.socket.switch(True)
    before = bench.socket.energy.energy_mwh
    bench.run(60_000)
    assert bench.socket.energy.energy_mwh - before == pytest.approx(2_060_000 / 60, rel=0.02)


def test_calibrating_by_one_value_leaves_the_gains_of_the_others() -> None:
    bench = SocketBench(load=KETTLE)
    bench.socket.switch(True)
    bench.run(10_000)
    assert bench.socket.calibrate({"voltage_mv": 232_300}) == ""
    [told] = bench.events("calibrated")
    assert (told["power_ppm"], told["current_ppm"]) == (1_000_000, 1_000_000)
    assert told["voltage_ppm"] == pytest.approx(1_010_000, rel=0.001)


def test_a_meter_is_not_calibrated_by_what_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = SocketBench(load=[(1_000, 2_000_000, 1000), (1_000, 1_900_000, 1000)])
    assert bench.socket.calibrate(REFERENCE) == "unsteady", "nothing was measured yet"
    bench.run(5_000)
    assert bench.socket.calibrate({"power_mw": 2_060_000}) == "unsteady", "no load"
    bench.socket.switch(True)
    bench.run(5_000)
    assert bench.socket.calibrate({"power_mw": 2_060_000}) == "unsteady"
    bench.plug_in(KETTLE)
    bench.run(15_000)
    assert bench.socket.calibrate({"power_mw": 4_010_000}) == "too_far_off"
    assert bench.socket.calibrate({"power_mw": 2_060_000, "current_ma": 4_000}) == "too_far_off"

    def refuses(*_: Any) -> None:
        raise OSError(5)

    with monkeypatch.context() as worn_out:
        worn_out.setattr("flash.Flash.write", refuses)
        assert bench.socket.calibrate(REFERENCE) == "not_kept"
    bench.run(5_000)
    assert bench.socket.reading()["power_mw"] == pytest.approx(2_000_000, rel=0.005)
    assert not bench.events("calibrated")
