"""The button: what a press means, told by how long it was held.

    up to 1.5 s     toggles the load, or clears a trip
    5 to 15 s       set-up, when it is released
    15 s            factory reset, while it is still held

What lies between means nothing, so a press can be thought better of. A button that is down at the start (a board's boot
pin, or stuck) counts only once it has been up.
"""

import hal

DEBOUNCE_MS = 40
SHORT_MAX_MS, SET_UP_MS, RESET_MS = 1_500, 5_000, 15_000
NONE, SHORT, SET_UP, RESET = range(4)


class Button:
    """Tells presses; look at the pin with `poll` more often than every 100 ms."""

    def __init__(self, now: int) -> None:
        self._down = True
        self._ignored = True
        self._raw = True
        self._raw_since = self._down_since = now

    def poll(self, now: int, is_down: bool) -> int:
        """Return what has just been pressed: `NONE`, `SHORT`, `SET_UP` or `RESET`."""
        if is_down != self._raw:
            self._raw, self._raw_since = is_down, now
        elif is_down != self._down and hal.ticks_diff(now, self._raw_since) >= DEBOUNCE_MS:
            self._down = is_down
            return self._went_down() if is_down else self._went_up()
        if self._down and not self._ignored and hal.ticks_diff(now, self._down_since) >= RESET_MS:
            self._ignored = True
            return RESET
        return NONE

    def held_ms(self, now: int) -> int:
        """Return for how long it has been down, 0 if it is up or does not count; for the LED."""
        return hal.ticks_diff(now, self._down_since) if self._down and not self._ignored else 0

    def _went_down(self) -> int:
        self._down_since, self._ignored = self._raw_since, False
        return NONE

    def _went_up(self) -> int:
        held_ms, ignored = hal.ticks_diff(self._raw_since, self._down_since), self._ignored
        self._ignored = False
        if ignored:
            return NONE
        if held_ms <= SHORT_MAX_MS:
            return SHORT
        return SET_UP if held_ms >= SET_UP_MS else NONE
