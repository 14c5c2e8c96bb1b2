"""Makes readings of a meter's samples: calibrated, freed of outliers, with the lifetime energy counter.

Protection does not wait for any of this: it looks at the calibrated samples themselves (`Metering.newest`).
"""

import struct

from energy import EnergyCounter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pulse_meter import PulseMeter
    from records import Record
    from uart_meter import Bl0942Meter, Cse7766Meter

NOMINAL_PPM = 1_000_000
GAIN_MIN_PPM = 500_000
GAIN_MAX_PPM = 2_000_000
CALIBRATION_SLOT_SIZE = 32
SAMPLES_KEPT = 20
"""A reading needs three of them; what a meter is calibrated by, all."""

# What no 16 A socket carries for long: it is kept out of readings and energy, but not from the protection.
# Source: docs/protocol.md, "Data".
VOLTAGE_MAX_MV = 400_000
CURRENT_MAX_MA = 20_000
POWER_MAX_MW = 8_000_000


def calibrated(value: int, gain_ppm: int) -> int:
    """Return `value` times `gain_ppm` millionths, rounded."""
    return (value * gain_ppm + 500_000) // 1_000_000


def is_possible(voltage_mv: "int | None", current_ma: "int | None", power_mw: int) -> bool:
    """Say whether a 16 A socket can have such values for longer than its protection allows."""
    if voltage_mv is not None and not 0 <= voltage_mv <= VOLTAGE_MAX_MV:
        return False
    if current_ma is not None and not 0 <= current_ma <= CURRENT_MAX_MA:
        return False
    return 0 <= power_mw <= POWER_MAX_MW


def median(a: int, b: int, c: int) -> int:
    """Return the middle one of three."""
    return max(min(a, b), min(max(a, b), c))


class Calibration:
    """Gains of power, current and voltage in ppm, kept in a `Record` with slots of `CALIBRATION_SLOT_SIZE`."""

    def __init__(self, record: "Record") -> None:
        self._record = record
        saved = record.load() or b""
        gains_ppm = struct.unpack_from("<III", saved) if len(saved) >= struct.calcsize("<III") else ()
        # Gains that no part can need would hide an overload, whoever kept them.
        self.gains_ppm = gains_ppm if gains_ppm and _are_sound(gains_ppm) else (NOMINAL_PPM,) * 3

    def save(self, power_ppm: int, current_ppm: int, voltage_ppm: int) -> None:
        """Use and keep these gains. Raises ValueError for one that no part can need."""
        gains_ppm = (power_ppm, current_ppm, voltage_ppm)
        if not _are_sound(gains_ppm):
            raise ValueError("gain out of range")
        self._record.save(struct.pack("<III", *gains_ppm))
        self.gains_ppm = gains_ppm


def _are_sound(gains_ppm: tuple) -> bool:
    return all(GAIN_MIN_PPM <= gain_ppm <= GAIN_MAX_PPM for gain_ppm in gains_ppm)


class Metering:
    """The socket's measured side.

    Args:
        meter: anything with `sample(now)` (`PulseMeter`, `Cse7766Meter`, `Bl0942Meter`).
        calibration: its gains.
        energy: the lifetime counter.

    Attributes:
        newest: (voltage_mv, current_ma, power_mw), calibrated, of the last sample whatever it says; None before the
            first. An overload beyond every limit is for the protection to see.
        samples: the last ones that were possible, oldest first, as `newest`.
        rejected: samples that are kept out of readings and energy.
    """

    def __init__(
        self, meter: "PulseMeter | Cse7766Meter | Bl0942Meter", calibration: Calibration, energy: EnergyCounter
    ) -> None:
        self._meter = meter
        self._calibration = calibration
        self._energy = energy
        self.samples: list[tuple[int | None, int | None, int]] = []
        self.newest: tuple[int | None, int | None, int] | None = None
        self.rejected = 0

    def poll(self, now: int) -> bool:
        """Take what the meter has; return whether there was a new sample. Called by the timer: nothing is saved."""
        sample = self._meter.sample(now)
        if sample is None:
            return False
        power_ppm, current_ppm, voltage_ppm = self._calibration.gains_ppm
        voltage_mv, current_ma, power_mw, energy_mw_ms = sample
        voltage_mv = None if voltage_mv is None else calibrated(voltage_mv, voltage_ppm)
        current_ma = None if current_ma is None else calibrated(current_ma, current_ppm)
        power_mw = calibrated(power_mw, power_ppm)
        self.newest = (voltage_mv, current_ma, power_mw)
        if is_possible(voltage_mv, current_ma, power_mw):
            self._energy.count(calibrated(energy_mw_ms, power_ppm))
            self.samples = self.samples[1 - SAMPLES_KEPT :] + [self.newest]  # noqa: RUF005
        else:
            self.rejected += 1
        return True

    def take_gains(self, power_ppm: int, current_ppm: int, voltage_ppm: int) -> None:
        """Measure by these gains from now on. Raises what `Calibration.save` does; then nothing has changed."""
        self._calibration.save(power_ppm, current_ppm, voltage_ppm)
        # What was measured by the gains before is no sign of what flows now.
        self.samples = []

    def reading(self) -> "dict | None":
        """Return the reading of now, the middle one of the last three samples of each value; None before the first."""
        if not self.samples:
            return None
        reading = {"power_mw": self._middle(2), "energy_mwh": self._energy.energy_mwh}
        for name, index in (("voltage_mv", 0), ("current_ma", 1)):
            value = self._middle(index)
            if value is not None:
                reading[name] = value
        return reading

    def _middle(self, index: int) -> "int | None":
        values = [value for value in [sample[index] for sample in self.samples[-3:]] if value is not None]
        if len(values) == 3:
            return median(values[0], values[1], values[2])
        return values[-1] if values else None
