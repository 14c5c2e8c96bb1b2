"""The load's switch: how it is left over restarts and power cuts, and that no trip is forgotten on the way.

Only a person, a command, or the protection moves it. A restart that is no power cut (watchdog, update) brings back
what was before; after a power cut the configuration's `power_on` decides: `off`, `on`, `last` (as it was) or, if it
says nothing, `outage-aware`. That is as it was, unless the power goes again within a minute of each of three starts:
such a load takes the mains with it, and would do so for ever.
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal import OutputPin
    from records import Record

OUTAGES_MAX = 3
STEADY_AFTER_MS = 60_000
_STATE = "<BBB"


class Relay:
    """
    Args:
        pin: drives it; active is closed.
        record: keeps it, with slots of 16 bytes: 500 saves wear each of its sectors once.

    Attributes:
        tripped: the cause of the latched trip (`protection.NAMES`), 0 if there is none.
        outages: power cuts in a row that came within a minute of the start.
        unkept: the flash has not taken the newest state.
        is_given_up: the relay stays open since there were too many of these outages.
    """

    def __init__(self, pin: "OutputPin", record: "Record") -> None:
        self._pin, self._record = pin, record
        kept = record.load() or b""
        known = len(kept) == struct.calcsize(_STATE)
        wanted, self.tripped, self.outages = struct.unpack(_STATE, kept) if known else (0, 0, 0)
        self._wanted, self.is_given_up = bool(wanted), False
        self._saved, self.unkept = bytes(kept), False

    @property
    def closed(self) -> bool:
        """Say how the relay is driven."""
        return self._pin.is_active()

    def open_at_once(self) -> None:
        """Open it; safe in an interrupt. Keep what that means by `trip`."""
        self._pin.set(False)

    def start(self, power_on: "str | None", was_power_cut: bool) -> bool:
        """Bring the relay to where it belongs after a start; whether it is closed then."""
        if was_power_cut:
            self.outages = min(self.outages + 1, 255)
        self.is_given_up = power_on in (None, "outage-aware") and self.outages > OUTAGES_MAX
        closed = self._wanted
        if was_power_cut and power_on in ("on", "off"):
            closed = power_on == "on"
        self._wanted = closed = closed and not self.tripped and not self.is_given_up
        # Before the load can take the mains down.
        self.keep()
        self._pin.set(closed)
        return closed

    def steady(self) -> None:
        """The power has stayed for `STEADY_AFTER_MS`."""
        if self.outages:
            self.outages = 0
            self.keep()

    def switch(self, closed: bool) -> None:
        """Drive it, and keep that. Raises OSError if it cannot be kept; it is driven all the same."""
        self._pin.set(closed)
        self._wanted = closed
        if closed:
            self.outages = 0
        self.keep()

    def trip(self, cause: int) -> None:
        """The protection has opened it because of `cause`, or (0) somebody cleared that: it stays open."""
        self._pin.set(False)
        self._wanted, self.tripped = False, cause
        self.keep()

    def keep(self) -> None:
        """Save what is not saved yet. Raises OSError if the flash does not take it."""
        state = struct.pack(_STATE, self._wanted, self.tripped, self.outages)
        self.unkept = state != self._saved
        if self.unkept:
            self._record.save(state)
            self._saved, self.unkept = state, False
