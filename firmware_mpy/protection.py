"""Opens the relay before a load burns the house: a check every few ms that needs no network, no event loop, no memory.

`Protection.check` is called from a timer interrupt every `PERIOD_MS`. It allocates nothing: whole numbers below 2^30,
attributes that exist already, callables bound beforehand.

    cause              trips when                                         opens within
    over_current       above its limit                                    1,050 ms
    over_power         above its limit                                    1,050 ms
    both of them       above 125 % of the limit, two samples in a row     at the second one
    over_voltage       above its limit                                    550 ms
    under_voltage      below its limit, while the relay is closed         2,050 ms
    over_temperature   above its limit                                    3,050 ms
    sensor_fault       no possible value for so long, relay closed        5,050 ms
    welded_relay       a current while the relay is open                  told after 3,050 ms

An excess that comes and goes is summed up and forgotten half as fast as it came, so a load that pulses across the limit
for more than a third of the time trips, too, also if it is the relay that pulses. A trip is latched until `clear`. At
90 % of a limit `warning` is set.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_MS = 50
OVER_MS, VOLTAGE_MS, UNDER_VOLTAGE_MS, TEMPERATURE_MS = 1_000, 500, 2_000, 3_000
SENSOR_MS, WELDED_MS = 5_000, 3_000
WELDED_MA, WELDED_MW = 100, 10_000
_STEP_MAX_MS = 1_000

NONE, OVER_CURRENT, OVER_POWER, OVER_VOLTAGE, UNDER_VOLTAGE, OVER_TEMPERATURE, SENSOR_FAULT, WELDED_RELAY = range(8)
NAMES = (
    "none",
    "over_current",
    "over_power",
    "over_voltage",
    "under_voltage",
    "over_temperature",
    "sensor_fault",
    "welded_relay",
)

DEFAULT_LIMITS = {
    "max_current_ma": 16_000,
    "max_power_mw": 3_680_000,
    "min_voltage_mv": 0,
    "max_voltage_mv": 265_000,
    "max_temperature_mc": 85_000,
}


class Protection:
    """
    Args:
        open_relay: called without arguments, from the interrupt, at a trip and at every check after it.
        ticks_diff: as the HAL's.
        now: ticks at the start.
        limits: as `DEFAULT_LIMITS`; what is absent is taken from there.

    Attributes:
        tripped: the cause of the latched trip, `NONE` if there is none.
        warning: the cause whose limit is 90 % reached, or NONE.
        welded: whether a current flows although the relay is open.
        closed: whether the relay is meant to be closed; whoever drives it says so with `relay_is`.
    """

    def __init__(
        self,
        open_relay: "Callable[[], None]",
        ticks_diff: "Callable[[int, int], int]",
        now: int,
        limits: "dict | None" = None,
    ) -> None:
        self._open_relay, self._diff, self._now = open_relay, ticks_diff, now
        self._current = self._power = self._voltage = self._temperature = 0
        self._current_ms = self._power_ms = self._high_ms = self._low_ms = self._hot_ms = self._welded_ms = 0
        # A sum of steps: a difference of ticks would be wrong after six days of silence.
        self._far_over = self._silent_ms = 0
        self._sampled, self._event = False, NONE
        self._trip_current = self._trip_power = self._trip_voltage = self._trip_temperature = 0
        self.tripped = self.warning = NONE
        self.welded = self.closed = False
        self._told_welded = False
        self.set_limits(limits or {})

    def set_limits(self, limits: dict) -> None:
        """Take new limits; a missing one is the default."""
        chosen = dict(DEFAULT_LIMITS)
        chosen.update({name: value for name, value in limits.items() if name in chosen and value is not None})
        self._max_current, self._max_power = chosen["max_current_ma"], chosen["max_power_mw"]
        self._min_voltage, self._max_voltage = chosen["min_voltage_mv"], chosen["max_voltage_mv"]
        self._max_temperature = chosen["max_temperature_mc"]
        self._far_current, self._far_power = self._max_current * 5 // 4, self._max_power // 4 * 5
        self._near_current, self._near_power = self._max_current * 9 // 10, self._max_power // 10 * 9
        self._near_temperature = self._max_temperature * 9 // 10

    def relay_is(self, closed: bool) -> None:
        """Say how the relay is driven from now on; the same again changes nothing, and no trip is overruled."""
        if closed == self.closed or (closed and self.tripped):
            return
        self.closed = closed
        self._welded_ms = self._far_over = 0

    def sample(self, current_ma: "int | None", power_mw: int, voltage_mv: "int | None", temperature_mc: int) -> None:
        """Take what the meter says; impossible values count as none. Safe in an interrupt.

        A meter does not know current and voltage (None) before their first turn.
        """
        if current_ma is None:
            current_ma = 0
        if voltage_mv is None:
            voltage_mv = self._min_voltage
        if not 0 <= current_ma <= 100_000 or not 0 <= power_mw <= 40_000_000 or not 0 <= voltage_mv <= 500_000:
            return
        if not -60_000 <= temperature_mc <= 200_000:
            return
        self._current, self._power, self._voltage = current_ma, power_mw, voltage_mv
        self._temperature, self._sampled = temperature_mc, True
        far = current_ma > self._far_current or power_mw > self._far_power
        self._far_over = self._far_over + 1 if far else 0

    def check(self, now: int) -> None:
        """Trip if it must be. Safe in an interrupt; call it every `PERIOD_MS`."""
        step = self._diff(now, self._now)
        self._now = now
        if step < 0 or step > _STEP_MAX_MS:
            step = _STEP_MAX_MS
        self._silent_ms = 0 if self._sampled else min(self._silent_ms + step, SENSOR_MS)
        self._sampled = False
        if self.tripped:
            self._open_relay()
        self._check_welded(step)
        self._sum_up(step, self.closed)
        if not self.closed:
            return
        cause = self._cause()
        if cause:
            self._trip(cause)

    def _sum_up(self, step: int, closed: bool) -> None:
        self._current_ms = _summed(self._current_ms, closed and self._current > self._max_current, step)
        self._power_ms = _summed(self._power_ms, closed and self._power > self._max_power, step)
        self._high_ms = _summed(self._high_ms, closed and self._voltage > self._max_voltage, step)
        self._low_ms = _summed(self._low_ms, closed and self._voltage < self._min_voltage, step)
        self._hot_ms = _summed(self._hot_ms, closed and self._temperature > self._max_temperature, step)
        self.warning = self._near() if closed else NONE

    def _near(self) -> int:
        if self._current >= self._near_current:
            return OVER_CURRENT
        if self._power >= self._near_power:
            return OVER_POWER
        if self._temperature >= self._near_temperature:
            return OVER_TEMPERATURE
        if self._voltage > self._max_voltage:
            return OVER_VOLTAGE
        return UNDER_VOLTAGE if self._voltage < self._min_voltage else NONE

    def _cause(self) -> int:
        if self._far_over >= 2:
            return OVER_CURRENT if self._current > self._far_current else OVER_POWER
        if self._current_ms >= OVER_MS:
            return OVER_CURRENT
        if self._power_ms >= OVER_MS:
            return OVER_POWER
        if self._high_ms >= VOLTAGE_MS:
            return OVER_VOLTAGE
        if self._hot_ms >= TEMPERATURE_MS:
            return OVER_TEMPERATURE
        if self._low_ms >= UNDER_VOLTAGE_MS:
            return UNDER_VOLTAGE
        return SENSOR_FAULT if self._silent_ms >= SENSOR_MS else NONE

    def _trip(self, cause: int) -> None:
        self._open_relay()
        self.tripped, self.closed = cause, False
        self._trip_current, self._trip_power = self._current, self._power
        self._trip_voltage, self._trip_temperature = self._voltage, self._temperature
        self._event = cause

    def _check_welded(self, step: int) -> None:
        flows = self._current >= WELDED_MA or self._power >= WELDED_MW
        # Old values say nothing of an open relay.
        fresh = self._silent_ms <= _STEP_MAX_MS
        if self.closed or not (flows and fresh):
            self._welded_ms = 0
            if not self.closed and fresh:
                self.welded = False
                self._told_welded = False
            return
        self._welded_ms += step
        if self._welded_ms >= WELDED_MS:
            self.welded = True
            self._welded_ms = WELDED_MS

    def clear(self, now: int) -> None:
        """Forget the trip: by button or command. The relay stays open until it is switched on."""
        self.tripped = NONE
        self._now = now
        self._current_ms = self._power_ms = self._high_ms = self._low_ms = self._hot_ms = 0
        self._far_over = self._silent_ms = 0

    def restore(self, cause: int) -> None:
        """Take over a latched trip from before a restart."""
        self.tripped, self.closed = cause, False

    def take_event(self, at_ms: "int | None") -> "dict | None":
        """Return the report of a trip or welded relay that was not taken yet; not for the interrupt."""
        if self._event:
            # Of its own: somebody may have cleared the trip since.
            cause, self._event = self._event, NONE
            values = (self._trip_current, self._trip_power, self._trip_voltage, self._trip_temperature)
            return _report(cause, values, at_ms)
        if self.welded and not self._told_welded:
            self._told_welded = True
            return _report(WELDED_RELAY, (self._current, self._power, self._voltage, self._temperature), at_ms)
        return None

    def warning_report(self) -> dict:
        """Return what is told about `warning`."""
        report = _report(self.warning, (self._current, self._power, self._voltage, self._temperature), None)
        report["event"] = "warning"
        return report


def _summed(so_far: int, over: bool, step: int) -> int:
    if over:
        return so_far + step
    return so_far - step // 2 if so_far > step // 2 else 0


def _report(cause: int, values: "tuple[int, int, int, int]", at_ms: "int | None") -> dict:
    report: dict[str, str | int] = {"event": "trip", "cause": NAMES[cause]}
    report["current_ma"], report["power_mw"], report["voltage_mv"], report["temperature_mc"] = values
    if at_ms is not None:
        report["at"] = at_ms
    return report
