"""What household appliances draw: endless phases of power, repeatable by seed.

A `Phase` is a stretch of time in which an appliance draws about the same power. Inrush currents, drum reversals and
scenes are short phases of their own, so that energy is exactly the sum over phases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class Phase(NamedTuple):
    """Draw `power_w` for `duration_ms`; `resistive` says how much of it follows the square of the voltage."""

    duration_ms: int
    power_w: float
    power_factor: float
    resistive: float = 0.0


Phases = Iterator[Phase]


class TimeOfDay:
    """The hour of the day (UTC) as the phases go by; what people do depends on it."""

    def __init__(self, start_ms: int) -> None:
        self.at_ms = start_ms

    def hour(self) -> float:
        return self.at_ms / HOUR_MS % 24

    def activity(self) -> float:
        """How busy a household is now: 0.05 at night, 1 around 7:30 and 19:00."""
        hour = self.hour()
        morning = math.exp(-(((hour - 7.5) / 1.5) ** 2))
        evening = math.exp(-(((hour - 19) / 3) ** 2))
        return 0.05 + 0.95 * max(morning, evening, 0.4 * (8 < hour < 22))


def _minutes(random: Random, low: float, high: float) -> int:
    return int(random.uniform(low, high) * MINUTE_MS)


def _pause_ms(random: Random, clock: TimeOfDay, mean_min: float) -> int:
    """A wait until somebody comes by; longer when the household sleeps."""
    return int(min(random.expovariate(1.0) * mean_min / clock.activity(), 14 * 60) * MINUTE_MS) + 1000


def fridge(random: Random, _clock: TimeOfDay) -> Phases:
    """A compressor that runs a third of the time, with a ten-fold inrush at each start, and defrosts twice a day."""
    running_w, idle_w = random.uniform(70, 110), random.uniform(0.5, 2)
    for cycle in _count():
        yield Phase(_minutes(random, 22, 38), idle_w, 0.5)
        yield Phase(100, running_w * 10, 0.4)
        yield Phase(250, running_w * 2.5, 0.5)
        for minute in range(random.randint(10, 16)):
            yield Phase(MINUTE_MS, running_w * (1 + 0.15 * math.exp(-minute / 3)), 0.62)
        if cycle % 14 == 13:
            yield Phase(_minutes(random, 8, 14), 180, 1.0, 1.0)


def kettle(random: Random, clock: TimeOfDay) -> Phases:
    """Nothing, then two kilowatts for as long as the water takes."""
    heating_w = random.uniform(1800, 2400)
    while True:
        yield Phase(_pause_ms(random, clock, 60), 0, 1.0)
        yield Phase(random.randint(50_000, 240_000), heating_w, 1.0, 1.0)


def washing_machine(random: Random, clock: TimeOfDay) -> Phases:
    """Fill, heat, turn the drum to and fro, rinse, spin; then a day or so of nothing."""
    idle_w, heating_w = random.uniform(0.3, 1.2), random.uniform(1850, 2150)
    while True:
        yield Phase(_pause_ms(random, clock, 400), idle_w, 0.4)
        yield Phase(_minutes(random, 1, 3), 8, 0.5)
        yield Phase(_minutes(random, 10, 22), heating_w, 1.0, 0.95)
        yield from _drum(random, turns=random.randint(60, 110), turning_w=160)
        for _rinse in range(3):
            yield Phase(_minutes(random, 1, 2), 30, 0.5)
            yield from _drum(random, turns=random.randint(8, 14), turning_w=140)
        for step in range(8):
            yield Phase(random.randint(15_000, 40_000), 150 + 50 * step, 0.7)


def _drum(random: Random, turns: int, turning_w: float) -> Phases:
    for _turn in range(turns):
        yield Phase(300, turning_w * 2.5, 0.45)
        yield Phase(random.randint(9_000, 14_000), turning_w * random.uniform(0.85, 1.15), 0.6)
        yield Phase(random.randint(3_000, 6_000), 6, 0.5)


def dishwasher(random: Random, clock: TimeOfDay) -> Phases:
    """Wash, heat, wash, heat, dry; about once in the evening."""
    idle_w, heating_w, pump_w = random.uniform(0.2, 0.9), random.uniform(1900, 2150), random.uniform(45, 75)
    while True:
        yield Phase(_pause_ms(random, clock, 450), idle_w, 0.4)
        for heating_min in (14, 11):
            yield Phase(250, pump_w * 4, 0.4)
            yield Phase(_minutes(random, 8, 14), pump_w, 0.65)
            yield Phase(_minutes(random, heating_min - 2, heating_min + 3), heating_w + pump_w, 0.99, 0.95)
            yield Phase(_minutes(random, 6, 12), pump_w, 0.65)
        yield Phase(_minutes(random, 15, 25), 3, 0.5)


def router(random: Random, _clock: TimeOfDay) -> Phases:
    """Always on, a little more when there is traffic."""
    base_w = random.uniform(6, 11)
    while True:
        yield Phase(random.randint(5_000, 60_000), base_w * random.uniform(1.0, 1.12), 0.55)


def television(random: Random, clock: TimeOfDay) -> Phases:
    """Standby, or a picture whose brightness changes with every scene."""
    standby_w, picture_w = random.uniform(0.3, 0.9), random.uniform(60, 130)
    while True:
        yield Phase(_pause_ms(random, clock, 90), standby_w, 0.35)
        yield Phase(40, picture_w * 5, 0.5)
        for _scene in range(random.randint(300, 2000)):
            yield Phase(random.randint(2_000, 12_000), picture_w * random.uniform(0.75, 1.2), 0.93)


def computer(random: Random, clock: TimeOfDay) -> Phases:
    """Off, or idling with bursts of work."""
    off_w, idle_w, busy_w = random.uniform(0.8, 3), random.uniform(40, 60), random.uniform(110, 220)
    while True:
        yield Phase(_pause_ms(random, clock, 120), off_w, 0.3)
        for _burst in range(random.randint(60, 300)):
            yield Phase(random.randint(5_000, 90_000), idle_w * random.uniform(0.95, 1.1), 0.92)
            yield Phase(random.randint(1_000, 25_000), random.uniform(idle_w, busy_w), 0.96)


def lamp(random: Random, clock: TimeOfDay) -> Phases:
    """On for an hour or three when it is dark and somebody is up."""
    on_w = random.choice((5.5, 9.0, 12.0, 42.0))
    while True:
        yield Phase(_pause_ms(random, clock, 80), 0.1, 0.3)
        dark = clock.hour() < 7 or clock.hour() > 17
        yield Phase(30, on_w * 4, 0.5)
        yield Phase(_minutes(random, 40, 180) if dark else _minutes(random, 1, 10), on_w, 0.9, 0.2)


def heater(random: Random, _clock: TimeOfDay) -> Phases:
    """A thermostat that switches a fan heater."""
    heating_w = random.uniform(900, 1500)
    while True:
        yield Phase(_minutes(random, 4, 12), 0.4, 0.5)
        yield Phase(_minutes(random, 2, 9), heating_w, 0.99, 0.97)


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


APPLIANCES: dict[str, Callable[[Random, TimeOfDay], Phases]] = {
    "fridge": fridge,
    "router": router,
    "tv": television,
    "kettle": kettle,
    "computer": computer,
    "heater": heater,
    "washer": washing_machine,
    "lamp": lamp,
    "dishwasher": dishwasher,
}
