"""The socket's lifetime energy counter: it never goes back and never jumps, over power cuts either.

In whole numbers: 1 mWh = 3,600,000 mW·ms, and what is left of a mWh is carried on. A power cut costs at most what was
counted since the last save, a minute before.
"""

import struct

import hal
from records import Record

SAVE_INTERVAL_MS = 60_000
SLOT_SIZE = 24
_MW_MS_PER_MWH = 3_600_000


class EnergyCounter:
    """Lifetime energy in mWh.

    Args:
        record: where it is saved: a `Record` with slots of `SLOT_SIZE` bytes.
        now: the ticks of the HAL in ms.
    """

    def __init__(self, record: Record, now: int) -> None:
        saved = record.load() or b""
        self._record = record
        self._energy_mwh = struct.unpack_from("<Q", saved)[0] if len(saved) >= struct.calcsize("<Q") else 0
        self._saved_mwh = self._energy_mwh
        self._saved_at = now
        self._rest_mw_ms = 0

    @property
    def energy_mwh(self) -> int:
        """Return all the energy that this socket ever counted."""
        return self._energy_mwh

    def count(self, energy_mw_ms: int) -> None:
        """Count energy in mW·ms; touches no flash, so the timer may call it."""
        if energy_mw_ms > 0:
            self._rest_mw_ms += energy_mw_ms
            self._energy_mwh += self._rest_mw_ms // _MW_MS_PER_MWH
            self._rest_mw_ms %= _MW_MS_PER_MWH

    def save(self, now: int) -> None:
        """Save at once: before a restart, or when the voltage is going. Raises OSError if the flash is worn out."""
        self._saved_at, energy_mwh = now, self._energy_mwh
        if energy_mwh != self._saved_mwh:
            self._record.save(struct.pack("<Q", energy_mwh))
            self._saved_mwh = energy_mwh

    def save_in_time(self, now: int) -> None:
        """Save if the last time was a minute ago; to be called more often than that."""
        if hal.ticks_diff(now, self._saved_at) >= SAVE_INTERVAL_MS:
            self.save(now)
