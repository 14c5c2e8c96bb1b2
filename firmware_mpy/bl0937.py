"""BL0937: single-phase energy meter with pulse outputs.

Source: Shanghai Belling, BL0937 datasheet, functional description, "output frequency":
F_CF = 1721506 V(I) V(V) / Vref², F_CFI = 94638 V(I) / Vref, F_CFU = 15397 V(V) / Vref, with Vref = 1.218 V;
SEL low: CF1 tells the current, SEL high: the voltage. V(I) and V(V) are volts at the chip's inputs.
"""

VREF_MV = 1218


def factors(shunt_uohm: int, divider_milli: int) -> "tuple[int, int, int]":
    """Return what a pulse a second means: (µW, µA, µV).

    Args:
        shunt_uohm: the shunt in µΩ.
        divider_milli: mains voltage / voltage at the chip, times 1000.
    """
    power = VREF_MV * VREF_MV * divider_milli * 1000 // (1721506 * shunt_uohm)
    current = VREF_MV * 1_000_000_000 // (94638 * shunt_uohm)
    voltage = VREF_MV * divider_milli // 15397
    return power, current, voltage
