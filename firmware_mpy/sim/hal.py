"""Simulated hardware with the interface of `firmware_mpy/hal.py`; tests steer it through `board`.

One `Board` (`simulated_board.py`) per process holds what the simulated parts share: clock, flash files, pins, pulse
generators, serial lines, timers. The clock is the machine's, or a test's: `board.advance(ms)` moves a virtual one and
fires timers on the way. It starts shortly before its wrap at 2^30, so that every run crosses it.
"""

import os
import select
import sys

import flash as _flash
from simulated_board import Board as _Board

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TICKS_PERIOD = 1 << 30
_HALF = TICKS_PERIOD // 2

board = _Board()


def ticks_ms() -> int:
    """Return a clock that wraps at 2^30 ms."""
    return (board.elapsed_ms() + board.origin_ms) & (TICKS_PERIOD - 1)


def ticks_us() -> int:
    """Return a clock that wraps at 2^30 us (18 minutes)."""
    return ((board.elapsed_ms() + board.origin_ms) * 1000) & (TICKS_PERIOD - 1)


def ticks_add(ticks: int, delta: int) -> int:
    """Return `ticks` moved by `delta`, wrapped."""
    return (ticks + delta) & (TICKS_PERIOD - 1)


def ticks_diff(later: int, earlier: int) -> int:
    """Return `later` - `earlier`, right over a wrap if they are less than half a period apart."""
    return ((later - earlier + _HALF) & (TICKS_PERIOD - 1)) - _HALF


def set_utc(now_ms: int) -> None:
    """Set the clock by which TLS judges a certificate's dates, in ms since 1970."""
    board.utc_ms = now_ms


def unique_id() -> bytes:
    """Return 6 bytes that no other board has."""
    return board.unique_id


def random_bytes(count: int) -> bytes:
    """Return random bytes fit for keys."""
    return os.urandom(count)


def temperature_mc() -> int:
    """Return the temperature of the chip in m°C."""
    return board.temperature_mc


def restart() -> None:
    """Start the board anew: here the process ends with status 75, and whoever runs it starts it again."""
    board.restarts += 1
    raise SystemExit(75)


def was_power_cut() -> bool:
    """Say whether this start came from the mains, not from a restart or the watchdog."""
    return board.power_cut


class Flash:
    """A raw partition: bytes can be read and cleared anywhere, and set again by erasing a sector of 4 KiB."""

    def __init__(self, name: str) -> None:
        if name not in board.flashes:
            path = None if board.flash_dir is None else board.flash_dir + "/" + name + ".bin"
            board.flashes[name] = _flash.Flash(board.flash_sizes.get(name, board.flash_size), path)
        self._flash = board.flashes[name]
        self.size = self._flash.size

    def read(self, at: int, buffer: "bytearray | memoryview") -> None:
        """Fill `buffer` from `at` on."""
        self._flash.read(at, buffer)

    def write(self, at: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`; the others must be as they are."""
        self._flash.write(at, data)

    def erase(self, at: int) -> None:
        """Set all bits of the sector that begins at `at`."""
        self._flash.erase(at)


class OutputPin:
    """A pin that is driven: relay, LED, SEL. `active_low` turns the level round."""

    def __init__(self, number: int, active_low: bool, active: bool) -> None:
        self._number = number
        self._active_low = active_low
        self.set(active)

    def set(self, active: bool) -> None:
        """Drive the pin; safe in an interrupt."""
        if board.mains is not None:
            board.mains.settle()
        board.levels[self._number] = bool(active) != self._active_low

    def is_active(self) -> bool:
        """Return how the pin is driven."""
        return board.levels[self._number] != self._active_low


class InputPin:
    """A pin that is read: the button."""

    def __init__(self, number: int, active_low: bool) -> None:
        self._number = number
        self._active_low = active_low
        board.levels.setdefault(number, active_low)

    def is_active(self) -> bool:
        """Return whether the button is down."""
        return board.levels[self._number] != self._active_low


class PulseCounter:
    """Counts rising edges in hardware (PCNT), whatever the program does; a test adds to `board.pulses[pin]`."""

    def __init__(self, unit: int, number: int) -> None:
        self._number = number
        board.pulses.setdefault(number, 0)

    def take(self) -> int:
        """Return the pulses since the last call."""
        if board.mains is not None:
            board.pulses[self._number] += board.mains.take_pulses(self._number)
        count = board.pulses[self._number]
        board.pulses[self._number] = 0
        return count


class Uart:
    """A serial port without flow control; a test adds to `board.lines[unit]` and reads `board.sent[unit]`."""

    def __init__(self, unit: int, tx: int, rx: int, baud: int, even_parity: bool) -> None:
        self._unit = unit
        board.lines.setdefault(unit, bytearray())
        board.sent.setdefault(unit, bytearray())

    def read(self, buffer: bytearray) -> int:
        """Fill `buffer` with what has come in; return how many bytes that is."""
        if board.mains is not None:
            board.lines[self._unit].extend(board.mains.sent())
        line = board.lines[self._unit]
        count = min(len(buffer), len(line))
        buffer[:count] = line[:count]
        board.lines[self._unit] = line[count:]
        return count

    def write(self, data: bytes) -> None:
        """Send `data`."""
        if board.mains is not None:
            board.lines[self._unit].extend(board.mains.answer(data))
            return
        board.sent[self._unit].extend(data)


class Timer:
    """Calls back from an interrupt, however late the event loop is: while `board.advance` moves the clock."""

    def __init__(self, unit: int) -> None:
        self.period_ms = 0
        self.due_ms = 0
        self.callback = None

    def start(self, period_ms: int, callback: "Callable[[], None]") -> None:
        """Call `callback()` every `period_ms`."""
        self.stop()
        self.period_ms, self.callback = period_ms, callback
        self.due_ms = board.elapsed_ms() + period_ms
        board.timers.append(self)

    def stop(self) -> None:
        """End the calls."""
        if self in board.timers:
            board.timers.remove(self)


class Watchdog:
    """Restarts the board unless it is fed in time; cannot be stopped."""

    def __init__(self, timeout_ms: int) -> None:
        board.watchdog_timeout_ms = timeout_ms
        self.feed()

    def feed(self) -> None:
        """Start the time-out anew."""
        board.watchdog_fed_ms = board.elapsed_ms()


class Wifi:
    """The station of the wireless network: there as long as `board.wifi_on`."""

    def __init__(self) -> None:
        self._joined = False

    def connect(self, ssid: str, password: str) -> None:
        """Begin to join a network; the radio keeps trying to get back in by itself. Raises OSError."""
        self._joined = False
        self._need_radio()
        known = [(one[0].decode(), one[1]) for one in board.networks or ()]
        self._joined = board.networks is None or (ssid, password) in known

    def is_connected(self) -> bool:
        """Say whether there is a network and an address."""
        return self._joined and board.wifi_on

    def rssi_dbm(self) -> int:
        """Return how strong the network is heard. Raises OSError while it is not joined."""
        if not self.is_connected():
            raise OSError("WiFi Not Connected")
        return board.rssi_dbm

    def stop(self) -> None:
        """Switch the radio off."""
        self._joined = False

    def address(self) -> str:
        """Return the address that the network gave."""
        return "127.0.0.1"

    def scan(self) -> list:
        """Return (name in bytes, dBm, kind of authentication) of the networks, strongest first. Raises OSError."""
        self._need_radio()
        return sorted([(one[0], one[2], one[3]) for one in board.networks or ()], key=lambda one: -one[1])

    def _need_radio(self) -> None:
        if not board.radio_works:
            raise OSError("Wifi Internal Error")


class Console:
    """The serial port that the log goes to, as bytes; reads never block. Here it is the standard input and output."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)

    def read(self, buffer: bytearray) -> int:
        """Fill `buffer` with what has come in; return how many bytes that is."""
        count = 0
        while count < len(buffer) and self._poll.poll(0):
            byte = sys.stdin.buffer.read(1)
            if not byte:
                break
            buffer[count] = byte[0]
            count += 1
        return count

    def write(self, data: bytes) -> None:
        """Send `data`."""
        sys.stdout.buffer.write(data)


class GattServer:
    """A BLE service for one phone at a time; a test plays the phone by `board.gatt_server`.

    Args:
        service: its UUID.
        characteristics: (UUID, whether it is written by the phone); the others are read, and notify.
        on_write: called with what was written.
        on_end: called without arguments when the phone has gone.
    """

    def __init__(self, service: str, characteristics: tuple, on_write: "Callable", on_end: "Callable") -> None:
        self._service, self._on_write, self._on_end = service, on_write, on_end
        self._uuids = [uuid for uuid, _ in characteristics]
        self._values, self._notified, self._advertised = {}, [], b""
        board.gatt_server = self

    def set(self, index: int, value: bytes) -> None:
        """Give a characteristic a value, and tell the phone. Raises OSError if that goes just then."""
        self._values[self._uuids[index]] = value
        self._notified.append((self._uuids[index], value))
        if board.phone_goes:
            raise OSError(128)

    def advertise(self, packet: bytes) -> None:
        """Send `packet` out again and again while no phone is connected. Raises OSError as `set` does."""
        self._advertised = packet

    def stop(self) -> None:
        """Switch the radio off; its memory comes back at the next start only."""
        board.gatt_server = None
