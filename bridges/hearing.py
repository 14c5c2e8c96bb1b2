"""Up to when it is known what sockets have answered: only that far back does silence mean anything."""

from __future__ import annotations

GAP_MS = 2_000
"""Reports that were not read up to their end for so long are an outage."""
SETTLED_AFTER_MS = 10_000
"""After an outage the bridge may need so long to bring what it held back: it tries again every 5 s at the latest."""
ON_ITS_WAY_MS = 1_000
"""Otherwise an answer takes less than this, from the socket to us."""
_LOOK_AGAIN_MS = 1_000
_NOTED_EVERY_MS = 250


class Hearing:
    """By partition of the reports' topic."""

    def __init__(self) -> None:
        self._since_ms: dict[int, int] = {}
        self._last_ms: dict[int, int] = {}

    def note(self, partition: int, now_ms: int) -> None:
        """All reports that stand in this partition have been read."""
        if not self._goes_on(partition, now_ms):
            self._since_ms[partition] = now_ms
        self._last_ms[partition] = now_ms

    def forget(self) -> None:
        """The partitions may be others' now."""
        self._since_ms.clear()
        self._last_ms.clear()

    def heard_until_ms(self, partition: int) -> int:
        """What its sockets said until then is known; 0 for some time after an outage."""
        last_ms = self._last_ms.get(partition, 0)
        settled = last_ms - self._since_ms.get(partition, last_ms) >= SETTLED_AFTER_MS
        return last_ms - ON_ITS_WAY_MS if settled else 0

    def look_again_ms(self, partition: int, until_ms: int, now_ms: int) -> int:
        """When it may be known what was said until `until_ms`; not later than now if it is."""
        if self.heard_until_ms(partition) >= until_ms:
            return until_ms
        known_ms = 0
        if self._goes_on(partition, now_ms):
            known_ms = max(until_ms + ON_ITS_WAY_MS, self._since_ms[partition] + SETTLED_AFTER_MS) + _NOTED_EVERY_MS
        return known_ms if known_ms > now_ms else now_ms + _LOOK_AGAIN_MS

    def _goes_on(self, partition: int, now_ms: int) -> bool:
        # A clock that was set back is a gap, too.
        last_ms = self._last_ms.get(partition)
        return last_ms is not None and 0 <= now_ms - last_ms <= GAP_MS
