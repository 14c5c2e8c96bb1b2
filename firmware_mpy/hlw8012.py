"""HLW8012: single-phase energy meter with pulse outputs.

Source: HLW8012 user manual (HLW Technology), "output frequency of CF and CF1":
F_CF = V1 V2 48 / Vref² x fosc / 128, F_CFI = V1 24 / Vref x fosc / 512, F_CFU = V2 2 / Vref x fosc / 512,
with Vref = 2.43 V and fosc = 3.579 MHz; SEL low: CF1 tells the current, SEL high: the voltage. V1 and V2 are volts at
the inputs of the current and voltage channels.
"""

VREF_MV = 2430
FOSC_HZ = 3_579_000


def factors(shunt_uohm: int, divider_milli: int) -> "tuple[int, int, int]":
    """Return what a pulse a second means: (µW, µA, µV).

    Args:
        shunt_uohm: the shunt in µΩ.
        divider_milli: mains voltage / voltage at the chip, times 1000.
    """
    power = VREF_MV * VREF_MV * 128 * 1000 * divider_milli // (48 * FOSC_HZ * shunt_uohm)
    current = VREF_MV * 512 * 1_000_000_000 // (24 * FOSC_HZ * shunt_uohm)
    voltage = VREF_MV * 512 * divider_milli // (2 * FOSC_HZ)
    return power, current, voltage
