"""The protection in an interrupt's place: every check runs with the heap locked, so that an allocation is an error."""

import micropython
from protection import NAMES, PERIOD_MS, Protection

_HALF, _MASK = 1 << 29, (1 << 30) - 1


def _diff(later: int, earlier: int) -> int:
    return ((later - earlier + _HALF) & _MASK) - _HALF


class _Relay:
    def __init__(self) -> None:
        self.opened = 0

    def open(self) -> None:
        self.opened += 1


def trip(samples: "list[list[int]]", start: int) -> "list[object]":
    """Return after how many checks the relay opened (0: never) and why; a sample is [mA, mW, mV, m°C]."""
    relay = _Relay()
    protection = Protection(relay.open, _diff, start, {})
    protection.relay_is(True)
    now = start
    for number, (current, power, voltage, temperature) in enumerate(samples):
        now = (now + PERIOD_MS) & _MASK
        micropython.heap_lock()
        try:
            protection.sample(current, power, voltage, temperature)
            protection.check(now)
        finally:
            micropython.heap_unlock()
        if relay.opened:
            return [number + 1, NAMES[protection.tripped]]
    return [0, NAMES[protection.tripped]]
