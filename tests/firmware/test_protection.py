"""The relay opens in the stated time for any waveform above a limit; a small model of loads, welds and meters."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tests.firmware.micropython import Worker

LIMIT_MA, LIMIT_MW, VOLTAGE_MV, WARM_MC = 16_000, 3_680_000, 230_000, 40_000
PERIOD_MS = 50
MASK = (1 << 30) - 1


def ticks_diff(later: int, earlier: int) -> int:
    return ((later - earlier + (1 << 29)) & MASK) - (1 << 29)


@dataclass
class Bench:
    """A relay, a load behind it and a meter; `start` lies before the wrap of the ticks."""

    start: int = MASK - 2_000
    limits: dict[str, int] = field(default_factory=dict)
    welded: bool = False
    driven: bool = True
    opened_after_ms: int | None = None

    def __post_init__(self) -> None:
        from protection import Protection

        self.elapsed_ms = 0
        self.protection = Protection(self._open, ticks_diff, self.start, self.limits)
        self.protection.relay_is(True)

    def _open(self) -> None:
        if self.driven:
            self.opened_after_ms = self.elapsed_ms
        self.driven = False

    def step(self, load_ma: int, *, voltage_mv: int = VOLTAGE_MV, heat_mc: int = WARM_MC, meter: bool = True) -> None:
        self.elapsed_ms += PERIOD_MS
        now = (self.start + self.elapsed_ms) & MASK
        flowing = load_ma if self.driven or self.welded else 0
        if meter:
            self.protection.sample(flowing, flowing * voltage_mv // 1000, voltage_mv, heat_mc)
        self.protection.check(now)

    def run(self, for_ms: int, load_ma: int, **how: int | bool) -> None:
        for _ in range(for_ms // PERIOD_MS):
            self.step(load_ma, **how)  # type: ignore[arg-type]

    def event(self) -> dict[str, object] | None:
        told: dict[str, object] | None = self.protection.take_event(1_764_000_000_500)
        return told


over = st.lists(st.integers(LIMIT_MA + 1, 100_000), min_size=21, max_size=40)
below = st.lists(st.integers(0, LIMIT_MA - 1), max_size=60)


@given(below, over)
def test_any_current_above_the_limit_opens_the_relay_within_1050_ms(before: list[int], wave: list[int]) -> None:
    bench = Bench()
    for load_ma in before:
        bench.step(load_ma, voltage_mv=200_000)
    assert bench.driven
    for load_ma in wave[:21]:
        bench.step(load_ma, voltage_mv=200_000)
    assert not bench.driven
    assert bench.opened_after_ms is not None
    assert bench.opened_after_ms - len(before) * PERIOD_MS <= 1_050


@given(st.lists(st.integers(LIMIT_MA * 5 // 4 + 1, 100_000), min_size=2, max_size=2), st.integers(0, MASK))
def test_a_quarter_above_the_limit_opens_the_relay_within_100_ms(wave: list[int], start: int) -> None:
    bench = Bench(start=start)
    for load_ma in wave:
        bench.step(load_ma)
    assert bench.opened_after_ms is not None
    assert bench.opened_after_ms <= 100


@given(st.lists(st.integers(0, LIMIT_MA), max_size=200))
def test_no_current_up_to_the_limit_trips(wave: list[int]) -> None:
    bench = Bench()
    for load_ma in wave:
        bench.step(load_ma)
    assert (bench.driven, bench.event()) == (True, None)


def test_a_pulsing_load_trips_although_it_is_below_the_limit_half_of_the_time() -> None:
    bench = Bench()
    for number in range(200):
        bench.step(17_000 if number % 2 else 100)
    assert not bench.driven


def test_an_inrush_of_one_sample_does_not_trip() -> None:
    bench = Bench()
    bench.step(60_000)
    bench.run(5_000, 5_000)
    assert bench.driven


def test_a_trip_tells_its_cause_and_values_once_and_stays_latched() -> None:
    bench = Bench()
    bench.run(200, 25_000)
    told = bench.event()
    assert told is not None
    assert (told["event"], told["cause"], told["current_ma"], told["at"]) == (
        "trip",
        "over_current",
        25_000,
        1_764_000_000_500,
    )
    bench.run(60_000, 0)
    assert (bench.event(), bench.protection.tripped) == (None, 1)
    bench.protection.clear((bench.start + bench.elapsed_ms) & MASK)
    assert bench.protection.tripped == 0


def test_voltage_and_heat_trip_in_their_times() -> None:
    for how, cause, within_ms in (
        ({"voltage_mv": 280_000}, "over_voltage", 550),
        ({"voltage_mv": 150_000}, "under_voltage", 2_050),
        ({"heat_mc": 90_000}, "over_temperature", 3_050),
        ({"meter": False}, "sensor_fault", 5_050),
    ):
        bench = Bench(limits={"min_voltage_mv": 200_000})
        bench.run(1_000, 1_000)
        bench.run(within_ms, 1_000, **how)
        assert bench.opened_after_ms is not None, cause
        assert bench.opened_after_ms - 1_000 <= within_ms
        told = bench.event()
        assert told is not None
        assert told["cause"] == cause


def test_a_warning_comes_before_the_trip() -> None:
    bench = Bench()
    bench.run(1_000, 15_000)
    assert (bench.protection.warning, bench.driven) == (1, True)


def test_a_relay_that_does_not_open_is_told_as_welded() -> None:
    bench = Bench(welded=True)
    bench.run(100, 25_000)
    first = bench.event()
    assert first is not None
    bench.run(3_050, 25_000)
    told = bench.event()
    assert told is not None
    assert told["cause"] == "welded_relay"
    assert bench.event() is None


def test_values_that_cannot_be_do_not_hide_a_broken_meter() -> None:
    bench = Bench()
    for _ in range(101):
        bench.elapsed_ms += PERIOD_MS
        now = (bench.start + bench.elapsed_ms) & MASK
        bench.protection.sample(-1, 0, VOLTAGE_MV, WARM_MC)
        bench.protection.check(now)
    told = bench.event()
    assert told is not None
    assert told["cause"] == "sensor_fault"


def test_switching_on_what_is_on_already_puts_off_no_trip() -> None:
    for limits, how, cause, within_ms in (
        ({}, {"meter": False}, "sensor_fault", 5_050),
        ({"min_voltage_mv": 200_000}, {"voltage_mv": 150_000}, "under_voltage", 2_050),
    ):
        bench = Bench(limits=limits)
        bench.run(1_000, 1_000)
        for _ in range(within_ms // 50):
            bench.protection.relay_is(True)
            bench.step(1_000, **how)  # type: ignore[arg-type]
        told = bench.event()
        assert told is not None
        assert told["cause"] == cause


def test_a_meter_that_is_silent_is_known_however_often_the_relay_is_switched() -> None:
    bench = Bench()
    for number in range(101):
        bench.protection.relay_is(number % 2 == 0)
        bench.step(0, meter=False)
    assert bench.protection.tripped == 6


def test_switching_off_what_is_off_already_hides_no_weld() -> None:
    bench = Bench(welded=True)
    bench.protection.relay_is(False)
    for _ in range(61):
        bench.protection.relay_is(False)
        bench.step(5_000)
    assert bench.protection.welded


def test_an_old_overload_does_not_trip_a_load_that_is_switched_on_later() -> None:
    bench = Bench()
    bench.run(900, 17_000)
    bench.protection.relay_is(False)
    bench.driven = False
    bench.run(10_000, 0)
    bench.protection.relay_is(True)
    bench.driven = True
    bench.run(900, 17_000)
    assert bench.driven
    bench.run(150, 17_000)
    assert not bench.driven


def test_an_overload_trips_although_the_relay_is_switched_off_again_and_again() -> None:
    bench = Bench()
    for _ in range(4):
        bench.protection.relay_is(True)
        bench.driven = bench.protection.closed
        bench.run(800, 17_000)
        bench.protection.relay_is(False)
        bench.driven = False
        bench.run(200, 0)
    assert bench.protection.tripped == 1


def test_one_sample_far_above_the_limit_is_one_however_often_it_is_looked_at() -> None:
    bench = Bench()
    bench.step(60_000)
    bench.run(400, 0, meter=False)
    assert bench.driven
    bench.step(60_000)
    assert not bench.driven


def test_a_trip_is_not_overruled_by_switching_on() -> None:
    bench = Bench()
    bench.run(200, 25_000)
    bench.protection.relay_is(True)
    assert not bench.protection.closed


def test_a_meter_that_was_silent_for_a_week_is_not_taken_for_one_that_speaks() -> None:
    bench = Bench(welded=True)
    bench.protection.relay_is(False)
    bench.step(5_000)
    for _ in range(7 * 24 * 60 * 60 + 4):
        bench.elapsed_ms += 1_000
        bench.protection.check((bench.start + bench.elapsed_ms) & MASK)
        assert not bench.protection.welded


@given(wave=over)
def test_micropython_trips_likewise_without_allocating(worker: Worker, wave: list[int]) -> None:
    samples = [[load_ma, load_ma * 200, 200_000, WARM_MC] for load_ma in wave]
    bench = Bench()
    for load_ma in wave:
        bench.step(load_ma, voltage_mv=200_000)
    assert bench.opened_after_ms is not None
    checks, cause = worker.call("protect", "trip", samples, bench.start)["answer"]
    assert (checks, cause) == (bench.opened_after_ms // PERIOD_MS, "over_current")
