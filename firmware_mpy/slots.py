"""Which firmware starts: the one that was flashed (0), or the image in partition `app_a` (1) or `app_b` (2).

An update is written to the partition that does not run. The one save that makes it the trial is the switch; another
one, after it has proven itself, makes it stay. Everything stands in one record (`records.py`), so a power cut leaves
the state before or the state after, and the flashed firmware is never written at all.

A start that does not come from the mains counts as failed until `settle`; after three of them the socket starts in safe
mode, after six it does so with the flashed firmware.
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from records import Record

PARTITIONS = ("", "app_a", "app_b")
STATE_PARTITION = "slots"
STATE_SLOT_SIZE = 32
TRIAL_STARTS = 3
FAILED_STARTS = 3
TRIES = 3
_STATE = "<BBBBBBII"
_COUNT_MAX = 255

# What `boot.py` has started; None where the firmware was started without it.
started: "Started | None" = None


class Started:
    """What runs.

    Attributes:
        slot: 0 for the flashed firmware.
        on_trial: goes back to the firmware before unless it proves itself.
        safe: starts keep failing: only what is needed for an update may run, with the load off.
    """

    def __init__(self, slot: int, on_trial: bool, safe: bool) -> None:
        self.slot, self.on_trial, self.safe = slot, on_trial, safe


class Slots:
    """
    Args:
        record: keeps the state (`load()`, `save(bytes)`).
    """

    def __init__(self, record: "Record") -> None:
        self._record = record
        kept = record.load() or b""
        known = len(kept) == struct.calcsize(_STATE)
        values = struct.unpack(_STATE, kept) if known else (0,) * 8
        self.active, self.previous, self.trial, self.trial_starts = values[:4]
        self.failed_starts, self.tries, self.floor, self.tried = values[4:]

    def begin(self, from_mains: bool, is_bootable: "Callable[[int], bool]") -> Started:
        """Decide what starts now.

        Args:
            from_mains: the power was away, so nothing is known against the start before.
            is_bootable: called with 1 or 2: whether that partition holds a whole, signed image for this board.
        """
        if not from_mains:
            self.failed_starts = min(self.failed_starts + 1, _COUNT_MAX)
        if self.trial:
            if self.trial_starts < TRIAL_STARTS and is_bootable(self.trial):
                self.trial_starts += 1
                self._save()
                return Started(self.trial, True, False)
            # It crashed again and again, and what it left behind says nothing about the firmware before.
            self.trial = self.failed_starts = 0
        if self.failed_starts >= 2 * FAILED_STARTS:
            self._save()
            return Started(0, False, True)
        for slot in (self.active, self.previous, 0):
            if slot == 0 or is_bootable(slot):
                self.active = slot
                break
        self._save()
        return Started(self.active, False, self.failed_starts >= FAILED_STARTS)

    def target(self) -> int:
        """Return the partition that an update is written to."""
        if self.active:
            return 3 - self.active
        return 2 if self.previous == 1 else 1

    def may_install(self, counter: int, running: int) -> bool:
        """Say whether a release may be installed: it is newer than any that ran, and has not failed three times.

        Args:
            counter: of the release.
            running: the counter of what runs.
        """
        if counter <= max(self.floor, running):
            return False
        return self.tried != counter or self.tries < TRIES

    def stage(self, slot: int, counter: int) -> None:
        """Let the image in `slot` have its trial from the next start on. It must have been checked."""
        self.tries = self.tries + 1 if self.tried == counter else 1
        self.tried, self.trial, self.trial_starts, self.failed_starts = counter, slot, 0, 0
        if self.previous == slot:
            self.previous = 0
        self._save()

    def confirm(self, counter: int) -> None:
        """The trial has proven itself: it stays, and nothing older is installed any more."""
        self.previous, self.active, self.trial = self.active, self.trial, 0
        self.floor = max(self.floor, counter)
        self.failed_starts = self.trial_starts = 0
        self._save()

    def reject(self) -> None:
        """The trial has not proven itself: from the next start on the firmware before runs again."""
        self.trial = self.trial_starts = self.failed_starts = 0
        self._save()

    def settle(self) -> None:
        """This start has not failed: it runs since a while, or is about to restart because it was told to."""
        if self.failed_starts:
            self.failed_starts = 0
            self._save()

    def _save(self) -> None:
        state = struct.pack(
            _STATE,
            self.active,
            self.previous,
            self.trial,
            self.trial_starts,
            self.failed_starts,
            self.tries,
            self.floor,
            self.tried,
        )
        if state != self._record.load():
            self._record.save(state)
