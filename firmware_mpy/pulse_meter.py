"""Meters that tell power by the rate of pulses on CF, and current or voltage, whichever SEL asks for, by that on CF1.

A factor is what one pulse a second means in millionths: µW, µA, µV. So pulses x factor / window in ms is mW, mA, mV,
and one CF pulse is `power` factor mW·ms of energy: whole numbers all the way.
"""

import hal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal import OutputPin, PulseCounter

# Voltage and current take turns; the first window after the turn is mixed and thrown away.
VOLTAGE_WINDOWS, CURRENT_WINDOWS = 2, 3
WINDOW_MIN_MS = 500
# No load draws so much current and no power to speak of: then CF is broken.
_POWERLESS_MA = 500
_POWERLESS_WINDOWS = 7


def rate(pulses: int, factor: int, window_ms: int) -> int:
    """Return mW, mA or mV of `pulses` in `window_ms`, rounded."""
    return (pulses * factor + window_ms // 2) // window_ms


class PulseMeter:
    """A BL0937 or HLW8012.

    Args:
        cf: the counter at CF; cf1: the one at CF1.
        select_voltage: the output at SEL: active = CF1 tells the voltage, else the current.
        factors: (power, current, voltage) as in the module's text.
        now: the ticks of the HAL in ms.
    """

    def __init__(
        self,
        cf: "PulseCounter",
        cf1: "PulseCounter",
        select_voltage: "OutputPin",
        factors: tuple,
        now: int,
    ) -> None:
        self._cf = cf
        self._cf1 = cf1
        self._select = select_voltage
        self._factors = factors
        self._since = now
        self._windows = 0
        self._of_voltage = True
        self._current_ma: int | None = None
        self._voltage_mv: int | None = None
        self._is_powerless, self._powerless_windows = False, 0
        select_voltage.set(True)
        cf.take()
        cf1.take()

    def sample(self, now: int) -> "tuple | None":
        """Return (voltage_mv, current_ma, power_mw, energy_mw_ms) of the window that ends now.

        None if the window is still too short, or for seconds a current has flowed without any power. Voltage and
        current are None until they had their turn, and as old as their last turn afterwards.
        """
        window_ms = hal.ticks_diff(now, self._since)
        if window_ms < WINDOW_MIN_MS:
            return None
        self._since = now
        pulses = self._cf.take()
        if pulses:
            self._is_powerless = False
        elif not self._is_powerless:
            # Without power the current of an earlier turn does not flow any more.
            self._current_ma = 0
        self._take_turns(self._cf1.take(), window_ms, pulses)
        self._powerless_windows = self._powerless_windows + 1 if self._is_powerless else 0
        if self._powerless_windows > _POWERLESS_WINDOWS:
            return None
        power, _, _ = self._factors
        return self._voltage_mv, self._current_ma, rate(pulses, power, window_ms), pulses * power

    def _take_turns(self, cf1_pulses: int, window_ms: int, cf_pulses: int) -> None:
        self._windows += 1
        if self._windows > 1:
            _, current, voltage = self._factors
            if self._of_voltage:
                self._voltage_mv = rate(cf1_pulses, voltage, window_ms)
            else:
                self._current_ma = rate(cf1_pulses, current, window_ms)
                self._is_powerless = not cf_pulses and self._current_ma >= _POWERLESS_MA
        if self._windows == (VOLTAGE_WINDOWS if self._of_voltage else CURRENT_WINDOWS):
            self._of_voltage = not self._of_voltage
            self._select.set(self._of_voltage)
            self._windows = 0
