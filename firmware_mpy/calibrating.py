"""Finds the gains by which the meter agrees with a trusted one.

Imported when a command asks for it: a socket is calibrated once or twice in its life, and its memory is small.
"""

from metering import GAIN_MAX_PPM, GAIN_MIN_PPM, NOMINAL_PPM, SAMPLES_KEPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# How far apart the samples of a steady load may be: what a pulse is to each of them, it is no more to their mean.
STEADY_PERCENT = 3
# Of a reference: name, range, and where the value stands in a sample; in the order of the gains.
_VALUES = (
    ("power_mw", 10_000, 8_000_000, 2),
    ("current_ma", 100, 20_000, 1),
    ("voltage_mv", 80_000, 400_000, 0),
)


def is_readable(reference: "object") -> bool:
    """Say whether it has a value at least, and each known one its type and range; null is as absent."""
    if not isinstance(reference, dict):
        return False
    named = [(reference[name], low, high) for name, low, high, _ in _VALUES if reference.get(name) is not None]
    return bool(named) and all(type(value) is int and low <= value <= high for value, low, high in named)


def new_gains(reference: dict, samples: "Sequence[tuple]", gains_ppm: tuple) -> "tuple[str, tuple]":
    """Return why there are none, empty if there are, and the gains.

    Args:
        reference: what a trusted meter shows of the load of now.
        samples: of the same load, as `Metering.samples`.
        gains_ppm: by which those were measured.
    """
    found = list(gains_ppm)
    for at, (name, _, _, index) in enumerate(_VALUES):
        true = reference.get(name)
        if true is None:
            continue
        values = [sample[index] or 0 for sample in samples]
        if len(values) < SAMPLES_KEPT or not 100 * max(values) <= (100 + STEADY_PERCENT) * min(values) > 0:
            return "unsteady", gains_ppm
        found[at] = gain_of(sum(values) * NOMINAL_PPM // found[at], true * len(values))
        if not GAIN_MIN_PPM <= found[at] <= GAIN_MAX_PPM:
            # The wrong load was named, or the wrong board.
            return "too_far_off", gains_ppm
    return "", tuple(found)


def gain_of(measured: int, true: int) -> int:
    """Return the gain that makes `true` of `measured`, which is above 0, in ppm."""
    return true * 1_000_000 // measured
