"""BL0942: single-phase energy meter that answers a read command with a packet of 23 bytes, 4800 baud, no parity.

Source: Shanghai Belling, BL0942 datasheet V1.06, "UART communication" (read command 0x58 | address, packet 0xAA,
checksum = inverted sum of command, header and data) and "electric parameter registers":
I_RMS = 305978 I(mV) / Vref, V_RMS = 73989 V(mV) / Vref, WATT = 3537 I(mV) V(mV) / Vref²,
a CF pulse every 1638.4 x 256 / WATT s, FREQ = 2 x 500 kHz / f, with Vref = 1.218 V.
"""

FRAME_SIZE = 23
BAUD = 4800
EVEN_PARITY = False
VREF_MV = 1218

_READ = 0x58
_HEADER = 0x55


def request(address: int) -> bytes:
    """Return the command that asks chip `address` (0 to 3) for a packet."""
    return bytes((_READ | address, 0xAA))


def read_frame(frame: bytes, address: int = 0) -> "tuple | None":
    """Return the raw registers (voltage, current, power with sign, pulses modulo 2^24, mHz), or None if it is none."""
    if frame[0] != _HEADER or ~((_READ | address) + sum(frame[:22])) & 0xFF != frame[22]:
        return None
    power = _three(frame, 10)
    if power & 0x800000:
        power -= 0x1000000
    period = frame[16] | frame[17] << 8
    mains_mhz = 1_000_000_000 // period if period else 0
    return _three(frame, 4), _three(frame, 1), power, _three(frame, 13), mains_mhz


def factors(shunt_uohm: int, divider_milli: int) -> "tuple[int, int, int]":
    """Return what 2^20 of a register means: (µW, µA, µV).

    Args:
        shunt_uohm: the shunt in µΩ.
        divider_milli: mains voltage / voltage at the chip, times 1000.
    """
    power = (VREF_MV * VREF_MV * divider_milli << 20) // (3537 * shunt_uohm * 1000)
    current = (VREF_MV * 1_000_000 << 20) // (305978 * shunt_uohm)
    voltage = (VREF_MV * divider_milli << 20) // (73989 * 1000)
    return power, current, voltage


def scaled(raw: int, factor: int) -> int:
    """Return a register in mW, mA or mV, rounded."""
    return (raw * factor + (500 << 20)) // (1000 << 20)


def _three(frame: bytes, at: int) -> int:
    return frame[at] | frame[at + 1] << 8 | frame[at + 2] << 16
