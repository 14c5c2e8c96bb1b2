"""Meters that tell their values in frames on a serial line: CSE7766 by itself, BL0942 when asked."""

import bl0942
import cse7766
import hal
from frames import FrameFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal import Uart

_PULSES_AT_ONCE_MAX = 2000
# Longer gaps between samples are not guessed.
_GAP_MAX_MS = 60_000
# Command and packet take 52 ms at 4800 baud; what has not come after so long never will.
_ANSWER_MS = 250
# Above this a CSE7766 counts twice a second at least; one that does not repeats itself, and would hide an overload.
_COUNTS_MW, _STILL_MS = 10_000, 5_000


class Cse7766Meter:
    """A CSE7766; energy by its own pulses. `uart`: 4800 baud, even parity."""

    def __init__(self, uart: "Uart", now: int) -> None:
        self._uart = uart
        self._count: int | None = None
        self._counted_at = now
        self._buffer = bytearray(64)
        self._finder = FrameFinder(cse7766.FRAME_SIZE, cse7766.read_frame)
        self._power_mw = 0
        self._pulses: int | None = None

    def sample(self, now: int) -> "tuple | None":
        """Return (voltage_mv, current_ma, power_mw, energy_mw_ms) of the frames since the last call, None without.

        None, too, of a chip that has stopped measuring and sends what it knew.
        """
        energy_mw_ms, frame = 0, None
        while True:
            count = self._uart.read(self._buffer)
            if not count:
                break
            for frame in self._finder.feed(memoryview(self._buffer)[:count]):
                energy_mw_ms += self._energy_of(frame[4], frame[5])
                if frame[4] != self._count or not frame[3] or frame[2] < _COUNTS_MW:
                    self._count, self._counted_at = frame[4], now
                power_mw, measured = frame[2], frame[3]
                self._power_mw = power_mw if measured else min(power_mw, self._power_mw)
        if frame is None or hal.ticks_diff(now, self._counted_at) > _STILL_MS:
            return None
        return frame[0], frame[1], self._power_mw, energy_mw_ms

    def _energy_of(self, pulses: int, pulse_mw_ms: int) -> int:
        # The count is void while its low byte is 0 (manual, section 3.6.2); the next frame brings what it held.
        if pulses & 0xFF == 0:
            return 0
        last, self._pulses = self._pulses, pulses
        new = 0 if last is None else pulses - last & 0xFFFF
        # More than 16 A can make in a second, or backwards: the chip started anew.
        return new * pulse_mw_ms if new <= _PULSES_AT_ONCE_MAX else 0


class Bl0942Meter:
    """A BL0942; energy by power and time. `uart`: 4800 baud, no parity."""

    def __init__(self, uart: "Uart", factors: tuple, now: int) -> None:
        self._uart = uart
        self._factors = factors
        self._buffer = bytearray(64)
        self._finder = FrameFinder(bl0942.FRAME_SIZE, bl0942.read_frame)
        self._sampled_at = now
        self._ask(now)

    def _ask(self, now: int) -> None:
        self._asked_at = now
        self._uart.write(bl0942.request(0))

    def sample(self, now: int) -> "tuple | None":
        """Return (voltage_mv, current_ma, power_mw, energy_mw_ms) of the newest packet, or None. Asks anew."""
        packet = None
        while True:
            count = self._uart.read(self._buffer)
            if not count:
                break
            packets = self._finder.feed(memoryview(self._buffer)[:count])
            packet = packets[-1] if packets else packet
        if packet is None:
            if hal.ticks_diff(now, self._asked_at) >= _ANSWER_MS:
                self._ask(now)
            return None
        self._ask(now)
        elapsed_ms = min(hal.ticks_diff(now, self._sampled_at), _GAP_MAX_MS)
        self._sampled_at = now
        power, current, voltage = self._factors
        power_mw = abs(bl0942.scaled(packet[2], power))
        return bl0942.scaled(packet[0], voltage), bl0942.scaled(packet[1], current), power_mw, power_mw * elapsed_ms
