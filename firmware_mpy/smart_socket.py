"""The socket as it stands in the wall: load, meter, protection, button and LED. It needs no network for any of it.

A timer interrupt every 50 ms takes the samples, runs the protection and looks at the button, however late the event
loop is. Everything that waits or writes flash is done by `attend`, from the loop.
"""

import asyncio

import button
import hal
import led
from board_meter import new_meter
from configuration import Configuration
from energy import EnergyCounter
from flash_layout import record
from metering import Calibration, Metering
from protection import DEFAULT_LIMITS, NAMES, PERIOD_MS, SENSOR_MS, Protection
from relay import STEADY_AFTER_MS, Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

INTERVAL_DEFAULT_MS = 10_000
IDENTIFY_MS = 15_000
_WARNING_PAUSE_MS = 60_000
# A flash that refuses costs erases and time at each attempt.
_KEEP_AGAIN_MS = 10_000
# The mains feed the board, too: a meter that finds less is out of order.
_DEAD_MV = 10_000


class SmartSocket:
    """
    Args:
        board: from `board.read_board`.
        tell: called with the members of an event, without its time.
        was_power_cut: this start came from the mains.
        safe_mode: the load stays off, and nothing is measured.

    Attributes:
        configuration: a `Configuration`.
        energy: an `EnergyCounter`.
        interval_ms: between two readings.
        changed: set when a reading is due at once, since the load was switched or the interval is another one.
        on_press: called after a short press, None: nobody.
        asked_for: `button.SET_UP` or `button.RESET` once somebody asked for it by the button.
        state: what else the LED tells: `online`, `set_up`.
        faults: errors of the meter or the flash so far; the last one is `last_error`.
        checks: how often the protection has looked.
    """

    def __init__(
        self, board: dict, tell: "Callable[[dict], None]", was_power_cut: bool, safe_mode: bool = False
    ) -> None:
        now = hal.ticks_ms()
        self._tell, self._rating, self._began = tell, board["rating"], now
        self.state = {"identify": False, "set_up": False, "safe_mode": safe_mode, "tripped": False, "online": False}
        self.changed, self.interval_ms = asyncio.Event(), INTERVAL_DEFAULT_MS
        self.asked_for, self.faults, self.checks = button.NONE, 0, 0
        self.on_press: Callable[[], None] | None = None
        self.last_error: Exception | None = None
        self._relay = Relay(_output(board["relay"]), record("relay"))
        self._protection = Protection(self._relay.open_at_once, hal.ticks_diff, now, self._rating)
        self.configuration = Configuration(record("configuration"), self._rating, self._apply)
        if self._relay.tripped:
            self._protection.restore(self._relay.tripped)
            # Its report may have been lost with the memory.
            tell({"event": "trip", "cause": NAMES[self._relay.tripped], "again": True})
        self.energy = EnergyCounter(record("energy"), now)
        self._calibration = Calibration(record("calibration"))
        self._metering = Metering(new_meter(board["meter"], now), self._calibration, self.energy)
        self._button_pin = hal.InputPin(board["button"]["pin"], board["button"]["active_low"])
        self._button, self._press, self._led = button.Button(now), button.NONE, _output(board["led"])
        self._sampled_at = self._identify_since = self._warned_at = self._kept_at = now
        self._has_sample = self._warned = False
        self._timer = hal.Timer(0)
        self._timer.start(PERIOD_MS, self._check)
        # The load last: whatever goes wrong before leaves it off, and from here on the protection looks.
        if not safe_mode:
            self._start_load(was_power_cut)

    def _start_load(self, was_power_cut: bool) -> None:
        try:
            closed = self._relay.start(self.configuration.members.get("power_on"), was_power_cut)
        except OSError as error:
            # It can keep nothing any more: that load is better off.
            self._note(error)
            closed = False
        self._protection.relay_is(closed)
        if self._relay.is_given_up:
            self._tell({"event": "load_left_off", "cause": "outages", "outages": self._relay.outages})

    # --- what a command does: see commands.py ----------------------------------------------------------------------

    @property
    def relay(self) -> bool:
        """Say whether the relay is driven closed."""
        return self._relay.closed

    def refusal(self, closed: bool) -> str:
        """Return why the relay must not be closed, empty if it may; opening is always good."""
        if not closed:
            return ""
        if self.state["safe_mode"]:
            return "safe_mode"
        return "tripped" if self._protection.tripped else ""

    def switch(self, closed: bool) -> None:
        """Switch the load, unless there is a `refusal` by now; switching it off clears a trip, too."""
        if self.refusal(closed):
            return
        if closed:
            self._protection.relay_is(True)
        try:
            if not closed and self._protection.tripped:
                # What is cleared here may not have been told or kept yet.
                self._tell_trip()
                self._protection.clear(hal.ticks_ms())
                self._relay.trip(0)
            self._relay.switch(closed)
        except OSError as error:
            self._note(error)
        if not closed:
            self._protection.relay_is(False)
        self.changed.set()

    def identify(self) -> None:
        """Let the LED be found for a while."""
        self.state["identify"], self._identify_since = True, hal.ticks_ms()

    def configure(self, config: dict, version: int) -> bool:
        """Take a configuration; whether it holds now."""
        return self.configuration.take(config, version)

    def calibrate(self, reference: dict) -> str:
        """Let the meter agree with a trusted one; why it does not: `unsteady`, `too_far_off`, `not_kept`."""
        from calibrating import new_gains

        samples = [] if self.reading() is None else self._metering.samples
        reason, (power_ppm, current_ppm, voltage_ppm) = new_gains(reference, samples, self._calibration.gains_ppm)
        if reason:
            return reason
        try:
            self._metering.take_gains(power_ppm, current_ppm, voltage_ppm)
        except OSError as error:
            self._note(error)
            return "not_kept"
        gains = {"power_ppm": power_ppm, "current_ppm": current_ppm, "voltage_ppm": voltage_ppm}
        self._tell(dict(gains, event="calibrated"))
        return ""

    def _apply(self, members: dict) -> None:
        limits = dict(self._rating)
        limits.update(members)
        if limits.get("min_voltage_mv", 0) >= limits.get("max_voltage_mv", DEFAULT_LIMITS["max_voltage_mv"]):
            raise ValueError("no voltage would do")
        self._protection.set_limits(limits)
        self.interval_ms = members.get("interval_ms", INTERVAL_DEFAULT_MS)
        self.changed.set()

    # --- the fast path, from the interrupt -------------------------------------------------------------------------

    def _check(self) -> None:
        now = hal.ticks_ms()
        self.checks += 1
        try:
            if self._metering.poll(now) and self._metering.newest is not None:
                voltage_mv, current_ma, power_mw = self._metering.newest
                if voltage_mv is None or voltage_mv >= _DEAD_MV:
                    self._protection.sample(current_ma, power_mw, voltage_mv, hal.temperature_mc())
                    self._sampled_at, self._has_sample = now, True
        except Exception as error:
            # Without samples the protection trips; an exception here would end the checks.
            self._note(error)
        self._protection.check(now)
        press = self._button.poll(now, self._button_pin.is_active())
        if press != button.NONE:
            self._press = press

    # --- what the loop does ----------------------------------------------------------------------------------------

    def reading(self) -> "dict | None":
        """Return the reading of now, None as long as the meter says nothing."""
        if not self._has_sample or hal.ticks_diff(hal.ticks_ms(), self._sampled_at) > SENSOR_MS:
            self._has_sample = False
            return None
        reading = self._metering.reading()
        if reading is not None:
            reading["relay"], reading["temperature_mc"] = self.relay, hal.temperature_mc()
        return reading

    def attend(self) -> None:
        """Do what has come up; to be called about ten times a second, and late if need be."""
        now = hal.ticks_ms()
        try:
            self._obey_button()
            self._keep_trip(now)
            self.energy.save_in_time(now)
            if self._relay.outages and hal.ticks_diff(now, self._began) >= STEADY_AFTER_MS:
                self._relay.steady()
        except OSError as error:
            self._note(error)
        self._tell_events(now)
        self._light(now)

    def keep(self, add: "Callable[[dict], Any]", reading: dict) -> None:
        """Call `add(reading)`, and note if the flash does not take it."""
        try:
            add(reading)
        except OSError as error:
            self._note(error)

    def rest(self) -> None:
        """Save what a restart would cost."""
        try:
            self.energy.save(hal.ticks_ms())
        except OSError as error:
            self._note(error)

    def _obey_button(self) -> None:
        press, self._press = self._press, button.NONE
        if press == button.SHORT:
            if self._protection.tripped:
                self.switch(False)
                self._tell({"event": "trip_cleared", "by": "button"})
            elif not self.refusal(not self.relay):
                self.switch(not self.relay)
                self._tell({"event": "switched", "by": "button", "relay": self.relay})
            if self.on_press is not None:
                self.on_press()
        elif press != button.NONE:
            # Whoever holds the button for so long stands in front of it.
            if self.relay:
                self._tell({"event": "switched", "by": "button", "relay": False})
            self.switch(False)
            self.asked_for = press

    def _keep_trip(self, now: int) -> None:
        tripped = self._protection.tripped
        if tripped != self._relay.tripped:
            self._protection.relay_is(False)
            self.changed.set()
            self._relay.trip(tripped)
        elif self._relay.unkept and not 0 <= hal.ticks_diff(now, self._kept_at) < _KEEP_AGAIN_MS:
            self._kept_at = now
            self._relay.keep()

    def _tell_trip(self) -> None:
        event = self._protection.take_event(None)
        if event is not None:
            self._tell(event)

    def _tell_events(self, now: int) -> None:
        self._tell_trip()
        warning = self._protection.warning
        if not warning:
            self._warned = self._warned and hal.ticks_diff(now, self._warned_at) < _WARNING_PAUSE_MS
        elif not self._protection.tripped:
            if not self._warned:
                self._tell(self._protection.warning_report())
            self._warned, self._warned_at = True, now

    def _light(self, now: int) -> None:
        state = self.state
        state["closed"] = self.relay
        state["tripped"] = bool(self._protection.tripped) or self._protection.welded
        if state["identify"] and hal.ticks_diff(now, self._identify_since) >= IDENTIFY_MS:
            state["identify"] = False
        pattern = led.pattern_of(state, self._button.held_ms(now), button.SET_UP_MS, button.RESET_MS - 3_000)
        self._led.set(led.is_lit(pattern, now))

    def _note(self, error: Exception) -> None:
        self.faults += 1
        self.last_error = error

    def cause_of_trip(self) -> str:
        """Return why the relay is kept open, `none` if it is not."""
        return NAMES[self._protection.tripped]


def _output(part: dict) -> hal.OutputPin:
    return hal.OutputPin(part["pin"], part["active_low"], False)
