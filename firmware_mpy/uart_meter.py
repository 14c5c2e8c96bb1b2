"""Meters that tell their values in frames on a serial line: CSE7766 by itself, BL0942 when asked."""

import bl0942
import cse7766
import hal
from frames import FrameFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal import Uart

# More than twice what 16 A make in a second. A call that was held up may bring those of a few seconds at once; beyond
# that it is rather a chip that has started anew.
_PULSES_A_SECOND_MAX, _SECONDS_MAX = 2_000, 10
# What flowed while the chip was silent for so long is not guessed.
_GAP_MAX_MS = 5_000
# Command and packet take 52 ms at 4800 baud; what has not come after so long never will.
_ANSWER_MS = 250
# A chip that repeats itself would hide an overload. Above so much power a CSE7766 counts twice a second at least, and a
# BL0942 has another voltage (steps of 0.1 mV) every 400 ms.
_COUNTS_MW, _STILL_MS = 10_000, 5_000
# A CSE7766's voltage has steps of 0.3 V: without load a frame may well be as the one before for a while.
_ALIKE_MS = 300_000


class _Mark:
    """When something happened last: right however long ago that is, if asked more often than every six days."""

    def __init__(self, now: int) -> None:
        self._at = now

    def set(self, now: int) -> None:
        """It happens now."""
        self._at = now

    def is_older(self, now: int, age_ms: int) -> bool:
        """Say whether it is longer ago than that."""
        if hal.ticks_diff(now, self._at) <= age_ms:
            return False
        self._at = hal.ticks_add(now, -age_ms - 1)
        return True


class Cse7766Meter:
    """A CSE7766; energy by its own pulses. `uart`: 4800 baud, even parity."""

    def __init__(self, uart: "Uart", now: int) -> None:
        self._uart = uart
        self._count: int | None = None
        self._last: tuple | None = None
        self._counted, self._changed = _Mark(now), _Mark(now)
        self._buffer = bytearray(64)
        self._finder = FrameFinder(cse7766.FRAME_SIZE, cse7766.read_frame)
        self._power_mw = 0
        self._pulses: int | None = None
        self._pulses_at = now

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
                energy_mw_ms += self._energy_of(frame[4], frame[5], now)
                self._look(frame, now)
                power_mw, measured = frame[2], frame[3]
                self._power_mw = power_mw if measured else min(power_mw, self._power_mw)
        is_still = self._counted.is_older(now, _STILL_MS)
        if self._changed.is_older(now, _ALIKE_MS) or is_still or frame is None:
            return None
        return frame[0], frame[1], self._power_mw, energy_mw_ms

    def _look(self, frame: tuple, now: int) -> None:
        if frame[4] != self._count or not frame[3] or frame[2] < _COUNTS_MW:
            self._count = frame[4]
            self._counted.set(now)
        if frame != self._last:
            self._last = frame
            self._changed.set(now)

    def _energy_of(self, pulses: int, pulse_mw_ms: int, now: int) -> int:
        # The count is void while its low byte is 0 (manual, section 3.6.2); the next frame brings what it held.
        if pulses & 0xFF == 0:
            return 0
        last, self._pulses = self._pulses, pulses
        seconds = hal.ticks_diff(now, self._pulses_at) // 1000
        self._pulses_at = now
        new = 0 if last is None else pulses - last & 0xFFFF
        # More than so, or backwards: the chip started anew.
        return new * pulse_mw_ms if new <= _PULSES_A_SECOND_MAX * min(max(seconds, 1), _SECONDS_MAX) else 0


class Bl0942Meter:
    """A BL0942; energy by power and time. `uart`: 4800 baud, no parity."""

    def __init__(self, uart: "Uart", factors: tuple, now: int) -> None:
        self._uart = uart
        self._factors = factors
        self._buffer = bytearray(64)
        self._finder = FrameFinder(bl0942.FRAME_SIZE, bl0942.read_frame)
        self._sampled_at = now
        self._last: tuple | None = None
        self._changed = _Mark(now)
        self._ask(now)

    def _ask(self, now: int) -> None:
        self._asked_at = now
        self._uart.write(bl0942.request(0))

    def sample(self, now: int) -> "tuple | None":
        """Return (voltage_mv, current_ma, power_mw, energy_mw_ms) of the newest packet, or None. Asks anew.

        None, too, of a chip that has stopped measuring and answers what it knew.
        """
        packet = self._newest()
        if packet is None:
            if not 0 <= hal.ticks_diff(now, self._asked_at) < _ANSWER_MS:
                self._ask(now)
            return None
        self._ask(now)
        elapsed_ms = hal.ticks_diff(now, self._sampled_at)
        self._sampled_at = now
        if packet != self._last:
            self._last = packet
            self._changed.set(now)
        elif self._changed.is_older(now, _STILL_MS):
            return None
        if elapsed_ms > _GAP_MAX_MS:
            elapsed_ms = 0
        power, current, voltage = self._factors
        power_mw = abs(bl0942.scaled(packet[2], power))
        return bl0942.scaled(packet[0], voltage), bl0942.scaled(packet[1], current), power_mw, power_mw * elapsed_ms

    def _newest(self) -> "tuple | None":
        packet = None
        while True:
            count = self._uart.read(self._buffer)
            if not count:
                return packet
            packets = self._finder.feed(memoryview(self._buffer)[:count])
            packet = packets[-1] if packets else packet
