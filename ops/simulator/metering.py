"""What a socket measures of its appliance: voltage, current, power and an exact energy counter, repeatable by seed.

Everything the counter adds up is an integer (mW × ms), so it equals the integral of the power to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from domain.wire import MAX_CURRENT_MA, MAX_POWER_MW, WireReading
from ops.simulator.appliances import APPLIANCES, HOUR_MS, Phase, TimeOfDay

MW_MS_PER_MWH = HOUR_MS
LONGEST_PIECE_MS = 1_000
NOMINAL_V = 230.0
NOISE = 0.006
"""Relative, one standard deviation; what plug meters of class 1 show at a steady load."""
HOUSE_WIRING_OHM = 0.35
THERMAL_TIME_CONSTANT_MS = 300_000


class Piece(NamedTuple):
    """Constant power for a while."""

    duration_ms: int
    power_mw: int


class MeteredSocket:
    """A socket and the appliance in it.

    Args:
        kind: a key of `APPLIANCES`.
        seed: equal seeds measure equal things at equal times.
        start_ms: when it is plugged in; ms since 1970 UTC.
        energy_mwh: what its lifetime counter shows then.
    """

    def __init__(self, kind: str, *, seed: str, start_ms: int, energy_mwh: int) -> None:
        self._random = Random(seed)  # noqa: S311 - a model, not a secret
        self._clock = TimeOfDay(start_ms)
        self._phases = APPLIANCES[kind](self._random, self._clock)
        self._skip_into_the_cycle(start_ms)
        self._at_ms = start_ms
        self._energy_mw_ms = energy_mwh * MW_MS_PER_MWH
        self._power_mw = 0
        self._relay = True
        self._voltage_v = NOMINAL_V
        self._heat_c = 0.0
        self._ambient_c = self._random.uniform(19, 26)
        self._rssi_dbm = self._random.uniform(-78, -45)
        self._rssi_middle_dbm = self._rssi_dbm
        self._measure(0)

    def read(self, boot: str, seq: int, at_ms: int) -> WireReading:
        """The reading at `at_ms`, which must not lie before the one read last."""
        for _piece in self.advance(at_ms):
            pass
        current_ma = self._current_ma()
        self._rssi_dbm += 0.2 * (self._rssi_middle_dbm - self._rssi_dbm) + self._random.gauss(0, 1.5)
        return WireReading(
            boot,
            seq,
            self._power_mw,
            at=at_ms,
            voltage_mv=round(self._voltage_v * 1000),
            current_ma=current_ma,
            energy_mwh=self._energy_mw_ms // MW_MS_PER_MWH,
            relay=self._relay,
            temperature_mc=round((self._ambient_c + self._heat_c) * 1000),
            rssi_dbm=max(-95, min(-30, round(self._rssi_dbm))),
        )

    def switch(self, relay: bool, at_ms: int) -> None:
        """Close (True) or open the relay at `at_ms`; what is open draws nothing, whatever the appliance would."""
        for _piece in self.advance(at_ms):
            pass
        if relay != self._relay:
            self._relay = relay
            self._measure(0)

    def advance(self, to_ms: int) -> Iterator[Piece]:
        """Live until `to_ms`, piece by piece; the counter takes each piece before it is handed out."""
        while self._at_ms < to_ms:
            duration_ms = min(LONGEST_PIECE_MS, to_ms - self._at_ms, self._phase_ends_ms - self._at_ms)
            self._measure(duration_ms)
            self._at_ms += duration_ms
            self._energy_mw_ms += self._power_mw * duration_ms
            yield Piece(duration_ms, self._power_mw)
            if self._at_ms >= self._phase_ends_ms:
                self._next_phase()

    def _skip_into_the_cycle(self, start_ms: int) -> None:
        """Begin somewhere within the first hours of the cycle, so that a fleet is not in step."""
        skip_ms = self._random.randrange(3 * HOUR_MS)
        self._clock.at_ms = start_ms - skip_ms
        self._phase_ends_ms = self._clock.at_ms
        while self._phase_ends_ms <= start_ms:
            self._next_phase()

    def _next_phase(self) -> None:
        self._clock.at_ms = self._phase_ends_ms
        self._phase: Phase = next(self._phases)
        self._phase_ends_ms += self._phase.duration_ms

    def _measure(self, duration_ms: int) -> None:
        phase = self._phase
        drawn_w = phase.power_w if self._relay else 0.0
        self._voltage_v = self._voltage(drawn_w)
        relative = self._voltage_v / NOMINAL_V
        power_w = drawn_w * (1 + phase.resistive * (relative * relative - 1))
        noisy_mw = round(power_w * 1000 * (1 + self._random.gauss(0, NOISE)))
        self._power_mw = max(0, min(MAX_POWER_MW, noisy_mw))
        settled_c = 14 * (self._current_ma() / 10_000) ** 2 + 6  # its own supply warms it by 6 K
        self._heat_c += (settled_c - self._heat_c) * (1 - math.exp(-duration_ms / THERMAL_TIME_CONSTANT_MS))

    def _voltage(self, power_w: float) -> float:
        """The mains: lowest when the street cooks in the evening, and lower by what the own wiring drops."""
        hour = self._at_ms / HOUR_MS % 24
        street_v = 232 - 3.5 * math.exp(-(((hour - 18.5) / 2.5) ** 2)) + self._random.gauss(0, 0.4)
        return street_v - power_w / NOMINAL_V * HOUSE_WIRING_OHM

    def _current_ma(self) -> int:
        return min(MAX_CURRENT_MA, round(self._power_mw / self._voltage_v / self._phase.power_factor))
