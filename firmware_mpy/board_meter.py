"""Makes the meter that a board's description names."""

import bl0937
import bl0942
import cse7766
import hal
import hlw8012
from pulse_meter import PulseMeter
from uart_meter import Bl0942Meter, Cse7766Meter

_PULSE_CHIPS = {"bl0937": bl0937, "hlw8012": hlw8012}
# 0 is the console.
_UART = 2


def new_meter(meter: dict, now: int) -> "PulseMeter | Cse7766Meter | Bl0942Meter":
    """Return the meter, with its pins in use.

    Args:
        meter: the member of `board.read_board`.
        now: ticks.
    """
    driver, scale = meter["driver"], (meter["shunt_uohm"], meter["divider_milli"])
    if driver in _PULSE_CHIPS:
        counters = hal.PulseCounter(0, meter["cf"]), hal.PulseCounter(1, meter["cf1"])
        select_voltage = hal.OutputPin(meter["sel"], meter["sel_active_low"], True)
        return PulseMeter(*counters, select_voltage, _PULSE_CHIPS[driver].factors(*scale), now)
    chip = cse7766 if driver == "cse7766" else bl0942
    uart = hal.Uart(_UART, meter["tx"], meter["rx"], chip.BAUD, chip.EVEN_PARITY)
    return Cse7766Meter(uart, now) if chip is cse7766 else Bl0942Meter(uart, bl0942.factors(*scale), now)
