"""CSE7766: single-phase energy meter that sends a frame of 24 bytes every 50 ms or so at 4800 baud, even parity.

Source: Chipsea, CSE7766 user manual Rev. 1.2, sections 3.4 (serial port protocol: state, adj, checksum) and 3.6
(voltage, current and power = coefficient / cycle; energy by CF pulses).
"""

FRAME_SIZE = 24
BAUD = 4800
EVEN_PARITY = True

_NORMAL = 0x55
# State 0xF?: a cycle has overflown, that is the value is too small to be measured; bit 0: the coefficients are lost.
_ABNORMAL = 0xF0
_NO_COEFFICIENTS = 0x01
_POWER_OVERFLOW = 0x02
_CURRENT_OVERFLOW = 0x04
_VOLTAGE_OVERFLOW = 0x08
_CHECK = 0x5A
_POWER_MEASURED = 0x10


def read_frame(frame: bytes) -> "tuple | None":
    """Return (voltage_mv, current_ma, power_mw, power is measured, pulses, energy of a pulse in mW·ms), or None.

    Values are those of the manual's typical application (1 mΩ, 1 MΩ : 1 kΩ). `pulses` counts modulo 2^16. A pulse is
    power x power cycle (in µs) = the power coefficient in µJ, and 1 µJ = 1 mW·ms. As long as a cycle of power is not
    over (adj bit 4), `power_mw` is what it is at most.
    """
    state = frame[0]
    if frame[1] != _CHECK or sum(frame[2:23]) & 0xFF != frame[23]:
        return None
    if state != _NORMAL and (state & _ABNORMAL != _ABNORMAL or state & _NO_COEFFICIENTS):
        return None
    overflow = state & 0x0F if state != _NORMAL else 0
    voltage_mv = _ratio(frame, 2, overflow & _VOLTAGE_OVERFLOW)
    current_ma = _ratio(frame, 8, overflow & _CURRENT_OVERFLOW)
    power_mw = _ratio(frame, 14, overflow & _POWER_OVERFLOW)
    measured = bool(frame[20] & _POWER_MEASURED)
    return voltage_mv, current_ma, power_mw, measured, frame[21] << 8 | frame[22], _three(frame, 14)


def _three(frame: bytes, at: int) -> int:
    return frame[at] << 16 | frame[at + 1] << 8 | frame[at + 2]


def _ratio(frame: bytes, at: int, overflow: int) -> int:
    """Return coefficient / cycle in thousandths, rounded; 0 if the cycle has overflown."""
    cycle = _three(frame, at + 3)
    if overflow or cycle == 0:
        return 0
    return (_three(frame, at) * 1000 + cycle // 2) // cycle
