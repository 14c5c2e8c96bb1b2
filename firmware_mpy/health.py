"""Whether new firmware has proven itself: it was connected, metered, and got receipts; else the old one comes back."""

import asyncio

import hal
from update import restart_when_off

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from slots import Slots, Started

HEALTHY_WITHIN_MS = 600_000
SETTLED_AFTER_MS = 60_000
_LOOK_EVERY_S = 1


class Health:
    """
    Args:
        slots: a `Slots`.
        started: what `boot.py` has started (`slots.started`).
        release: (version, counter) of what runs.
        signs: callables by name (`connected`, `metered`, `receipted`): whether that has happened by now.
        report: called with the members of an event for the status topic.
        within_ms: how long a trial has for all signs.
    """

    def __init__(
        self,
        slots: "Slots",
        started: "Started",
        release: "tuple[str, int]",
        signs: dict,
        report: "Callable[..., Any]",
        within_ms: int = HEALTHY_WITHIN_MS,
    ) -> None:
        self._slots, self._started, self._signs, self._report = slots, started, signs, report
        self._version, self._counter = release
        self._within_ms = within_ms

    async def run(self, may_restart: "Callable[[], bool]", restart: "Callable[[], None]") -> None:
        """Settle this start after a while; decide a trial, and go back once the load is off if it failed."""
        began = hal.ticks_ms()
        if self._started.on_trial:
            missing = await self._missing(began)
            if missing:
                self._slots.reject()
                self._tell({"result": "rolled_back", "reason": "no " + ", ".join(missing)})
                await restart_when_off(may_restart, restart)
                return
            self._slots.confirm(self._counter)
            self._tell({"result": "confirmed"})
        await settle_later(self._slots, began)

    async def _missing(self, began: int) -> "list[str]":
        """Return the signs that stayed away until the end of the trial."""
        missing = sorted(self._signs)
        while True:
            missing = [name for name in missing if not self._signs[name]()]
            if not missing or hal.ticks_diff(hal.ticks_ms(), began) >= self._within_ms:
                return missing
            await asyncio.sleep(_LOOK_EVERY_S)

    def _tell(self, members: dict) -> None:
        event = {"event": "update", "version": self._version}
        event.update(members)
        self._report(event)


async def settle_later(slots: "Slots", began: "int | None" = None) -> None:
    """Let this start count as no failure once it has run for a while, also where no update can come in."""
    began = hal.ticks_ms() if began is None else began
    while hal.ticks_diff(hal.ticks_ms(), began) < SETTLED_AFTER_MS:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_EVERY_S)
    slots.settle()
