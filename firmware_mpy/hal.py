"""The board's hardware, the only module that imports hardware modules. Runs on an ESP32 alone, never in the tests.

`firmware_mpy/sim/hal.py` takes its place there. Without a board, all that was checked of this file is that the two have
the same names and signatures, and its types. Ticks are milliseconds modulo 2^30: compare them by `ticks_diff` only.
"""

import os
import select
import sys
import time

import bluetooth
import esp32
import machine
import network
from micropython import const, kbd_intr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TICKS_PERIOD = const(1 << 30)
_ERASE, _BLOCK_COUNT, _SECTOR_SIZE = const(6), const(4), const(4096)
_CENTRAL_CONNECT, _CENTRAL_DISCONNECT, _GATTS_WRITE = const(1), const(2), const(3)
_VALUE_MAX, _ADVERTISED_EVERY_US = const(512), const(200_000)
# By the numbers of `network.WLAN.scan`.
_AUTHENTICATIONS = ("NO", "WEP", "WPA", "WPA2", "WPA/WPA2", "WPA2 EAP", "WPA3", "WPA2/WPA3", "WAPI")
_2000_S = const(946_684_800)  # The board counts its seconds from there.


def ticks_ms() -> int:
    """Return a clock that wraps at 2^30 ms."""
    return time.ticks_ms()  # type: ignore[return-value] # a whole number


def ticks_us() -> int:
    """Return a clock that wraps at 2^30 us (18 minutes)."""
    return time.ticks_us()  # type: ignore[return-value] # a whole number


def ticks_add(ticks: int, delta: int) -> int:
    """Return `ticks` moved by `delta`, wrapped."""
    return time.ticks_add(ticks, delta)  # type: ignore[type-var] # a whole number


def ticks_diff(later: int, earlier: int) -> int:
    """Return `later` - `earlier`, right over a wrap if they are less than half a period apart."""
    return time.ticks_diff(later, earlier)


def set_utc(now_ms: int) -> None:
    """Set the clock by which TLS judges a certificate's dates, in ms since 1970."""
    date = time.gmtime(now_ms // 1000 - (0 if time.gmtime(0)[0] == 1970 else _2000_S))
    machine.RTC().datetime((date[0], date[1], date[2], date[6], date[3], date[4], date[5], 0))


def unique_id() -> bytes:
    """Return 6 bytes that no other board has."""
    return machine.unique_id()


def random_bytes(count: int) -> bytes:
    """Return random bytes fit for keys (the radio feeds the generator)."""
    return os.urandom(count)


def temperature_mc() -> int:
    """Return the temperature of the chip in m°C."""
    # °F; `mcu_temperature` is of the newer chips alone.
    return (esp32.raw_temperature() - 32) * 5000 // 9


def restart() -> None:
    """Start the board anew; does not return."""
    machine.reset()


def was_power_cut() -> bool:
    """Say whether this start came from the mains, not from a restart or the watchdog."""
    return machine.reset_cause() == machine.PWRON_RESET


class Flash:
    """A raw partition: bytes can be read and cleared anywhere, and set again by erasing a sector of 4 KiB."""

    def __init__(self, name: str) -> None:
        found = esp32.Partition.find(esp32.Partition.TYPE_DATA, label=name)
        if not found:
            raise OSError("no such partition: " + name)
        self._partition = found[0]
        self.size = self._partition.ioctl(_BLOCK_COUNT, 0) * _SECTOR_SIZE

    def read(self, at: int, buffer: "bytearray | memoryview") -> None:
        """Fill `buffer` from `at` on."""
        self._partition.readblocks(at // _SECTOR_SIZE, buffer, at % _SECTOR_SIZE)

    def write(self, at: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`; the others must be as they are."""
        # With an offset the partition does not erase first.
        self._partition.writeblocks(at // _SECTOR_SIZE, data, at % _SECTOR_SIZE)

    def erase(self, at: int) -> None:
        """Set all bits of the sector that begins at `at`."""
        self._partition.ioctl(_ERASE, at // _SECTOR_SIZE)


class OutputPin:
    """A pin that is driven: relay, LED, SEL. `active_low` turns the level round."""

    def __init__(self, number: int, active_low: bool, active: bool) -> None:
        self._active_low = active_low
        self._pin = machine.Pin(number, machine.Pin.OUT, value=int(active != active_low))

    def set(self, active: bool) -> None:
        """Drive the pin; safe in an interrupt."""
        self._pin.value(int(active != self._active_low))

    def is_active(self) -> bool:
        """Return how the pin is driven."""
        return bool(self._pin.value()) != self._active_low


class InputPin:
    """A pin that is read: the button."""

    def __init__(self, number: int, active_low: bool) -> None:
        self._active_low = active_low
        self._pin = machine.Pin(number, machine.Pin.IN, *((machine.Pin.PULL_UP,) if active_low else ()))

    def is_active(self) -> bool:
        """Return whether the button is down."""
        return bool(self._pin.value()) != self._active_low


class PulseCounter:
    """Counts rising edges in hardware (PCNT), whatever the program does."""

    def __init__(self, unit: int, number: int) -> None:
        self._counter = machine.Counter(unit, machine.Pin(number, machine.Pin.IN), filter_ns=12_000)

    def take(self) -> int:
        """Return the pulses since the last call."""
        return self._counter.value(0)


class Uart:
    """A serial port without flow control; reads never block."""

    def __init__(self, unit: int, tx: int, rx: int, baud: int, even_parity: bool) -> None:
        parity = 0 if even_parity else None
        self._uart = machine.UART(unit, baudrate=baud, tx=tx, rx=rx, parity=parity, rxbuf=256, timeout=0)

    def read(self, buffer: bytearray) -> int:
        """Fill `buffer` with what has come in; return how many bytes that is."""
        return self._uart.readinto(buffer) or 0 if self._uart.any() else 0

    def write(self, data: bytes) -> None:
        """Send `data`."""
        self._uart.write(data)


class Timer:
    """Calls back between two steps of the program, not within one, however late the loop is; it must not wait."""

    def __init__(self, unit: int) -> None:
        self._timer = machine.Timer(unit)

    def start(self, period_ms: int, callback: "Callable[[], None]") -> None:
        """Call `callback()` every `period_ms`."""
        self._timer.init(period=period_ms, mode=machine.Timer.PERIODIC, callback=lambda _: callback())

    def stop(self) -> None:
        """End the calls."""
        self._timer.deinit()


class Watchdog:
    """Restarts the board unless it is fed in time; cannot be stopped."""

    def __init__(self, timeout_ms: int) -> None:
        self._watchdog = machine.WDT(timeout=timeout_ms)

    def feed(self) -> None:
        """Start the time-out anew."""
        self._watchdog.feed()


class Wifi:
    """The station of the wireless network."""

    def __init__(self) -> None:
        self._station = network.WLAN(network.STA_IF)

    def connect(self, ssid: str, password: str) -> None:
        """Begin to join a network; the radio keeps trying to get back in by itself. Raises OSError."""
        # While it is joining one it refuses another one.
        self._station.active(False)
        self._station.active(True)
        self._station.config(reconnects=-1)
        self._station.connect(ssid, password)

    def is_connected(self) -> bool:
        """Say whether there is a network and an address."""
        return self._station.isconnected()

    def rssi_dbm(self) -> int:
        """Return how strong the network is heard. Raises OSError while it is not joined."""
        return self._station.status("rssi")

    def stop(self) -> None:
        """Switch the radio off."""
        self._station.active(False)

    def address(self) -> str:
        """Return the address that the network gave."""
        return self._station.ifconfig()[0]

    def scan(self) -> list:
        """Return (name in bytes, dBm, authentication) of the networks, strongest first; takes 2 s. Raises OSError."""
        self._station.active(True)
        found = sorted(self._station.scan(), key=lambda one: -one[3])
        # Of newer kinds, all that matters is that there is a password.
        return [(one[0], one[3], _AUTHENTICATIONS[one[4]] if one[4] < 9 else "WPA3") for one in found if one[0]]


class Console:
    """The serial port that the log goes to, as bytes; reads never block. Ctrl-C on it is a byte like any other."""

    def __init__(self) -> None:
        kbd_intr(-1)
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
    """A BLE service for one phone at a time, that finds it by what is advertised.

    Args:
        service: its UUID.
        characteristics: (UUID, whether it is written by the phone); the others are read, and notify.
        on_write: called with what was written.
        on_end: called without arguments when the phone has gone.
    """

    def __init__(self, service: str, characteristics: tuple, on_write: "Callable", on_end: "Callable") -> None:
        self._on_write, self._on_end, self._advertised = on_write, on_end, b""
        self._phone: int | None = None
        self._ble = bluetooth.BLE()
        self._ble.active(True)
        self._ble.config(mtu=_VALUE_MAX)
        written = bluetooth.FLAG_WRITE | bluetooth.FLAG_WRITE_NO_RESPONSE
        read = bluetooth.FLAG_READ | bluetooth.FLAG_NOTIFY
        described = tuple([(bluetooth.UUID(uuid), written if writes else read) for uuid, writes in characteristics])
        self._handles = self._ble.gatts_register_services(((bluetooth.UUID(service), described),))[0]
        for index, (_, writes) in enumerate(characteristics):
            # Writes are appended, so that two that come soon after one another are both there.
            self._ble.gatts_set_buffer(self._handles[index], _VALUE_MAX, writes)
        self._ble.irq(self._take)

    def set(self, index: int, value: bytes) -> None:
        """Give a characteristic a value, and tell the phone. Raises OSError if that goes just then."""
        self._ble.gatts_write(self._handles[index], value)
        if self._phone is not None:
            self._ble.gatts_notify(self._phone, self._handles[index], value)  # type: ignore # the stub lacks one

    def advertise(self, packet: bytes) -> None:
        """Send `packet` out again and again while no phone is connected. Raises OSError as `set` does."""
        self._advertised = packet
        if self._phone is None:
            self._ble.gap_advertise(_ADVERTISED_EVERY_US, packet)

    def stop(self) -> None:
        """Switch the radio off; its memory comes back at the next start only."""
        self._ble.active(False)

    def _take(self, event: int, data: tuple) -> None:
        if event == _CENTRAL_CONNECT:
            self._phone = data[0]
        elif event == _CENTRAL_DISCONNECT:
            self._phone = None
            self._on_end()
            self.advertise(self._advertised)
        elif event == _GATTS_WRITE:
            self._on_write(self._ble.gatts_read(data[1]))
