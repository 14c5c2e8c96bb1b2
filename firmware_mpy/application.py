"""Puts the firmware together: the socket, its way to the engine, updates, set-up; and the one way to a restart.

A restart never takes a load away: it waits until the load is off, or, asked for by whoever holds the button, switches
it off first. Only the watchdog does not ask.
"""

import asyncio
import sys

import button
import hal
import release
from access import http_server, uplink_server
from commands import Commands
from flash_layout import RING_PARTITION, forget_owner, record
from keep_running import keep_running
from smart_socket import SmartSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from access import Access
    from set_up import SetUp
    from set_up_ble import BleSetUp
    from slots import Started
    from uplink import Uplink

WATCHDOG_MS = 30_000
SET_UP_FOR_S = 600
_ATTEND_S = 0.1
_LAST_WORDS_MS = 5_000
_SETTLE_S = 1


class Application:
    """
    Args:
        board: from `board.read_board`.
        access: an `Access`.
        started: what `boot.py` has started (`slots.started`), None without updates.
        trusted: (board, modulus) of the updates, None without.
        patience: as of `Uplink`.
    """

    def __init__(
        self,
        board: dict,
        access: "Access",
        started: "Started | None" = None,
        trusted: "tuple[str, bytes] | None" = None,
        patience: "dict | None" = None,
    ) -> None:
        self._watchdog, self._checks = hal.Watchdog(WATCHDOG_MS), -1
        self._access, self._started, self._trusted = access, started, trusted
        if access.members.get("forget"):
            # Before anything is read that the next owner must not see. A power cut on the way, and it begins again.
            forget_owner(access, self._watchdog.feed)
        self._safe_mode = started is not None and started.safe
        self._uplink: Uplink | None = None
        self._early: list[dict] = []
        self._leaving: asyncio.Task | None = None
        self._phone: BleSetUp | None = None
        self._restart_asked = False
        self.socket = SmartSocket(board, self.tell, hal.was_power_cut(), self._safe_mode)
        self._board, self._wifi = board, hal.Wifi()
        self._sets_up = not access.knows_wifi or bool(access.members.get("set_up"))
        if access.members.get("set_up"):
            # Once: whatever comes of it, the next start is an ordinary one.
            access.keep({"set_up": False})
        self._told = access.members
        if not self._sets_up:
            try:
                self._connect(patience)
            except Exception as error:
                # It is told what it cannot work with, such as a certificate that is none. It still is a switch.
                sys.print_exception(error)

    def _connect(self, patience: "dict | None") -> None:
        from uplink import Uplink

        server = uplink_server(self._access.members) if self._access.knows_server else None
        if server is None:
            return
        ring, bases = hal.Flash(RING_PARTITION), record("bases")
        uplink = Uplink(server, ring, bases, self._presence, self._obey, self._wifi.is_connected, patience=patience)
        self._commands = Commands(record("commands"), uplink.clock, self)
        self._uplink = uplink
        for event in self._early:
            self.tell(event)
        self._early = []

    async def run(self) -> None:
        """Run, for ever: an error in one part ends no other one."""
        parts: list[Callable[[], Awaitable[None]]] = [self._attend, self._listen_to_cable]
        parts += [self._be_set_up, self._end_set_up] if self._sets_up else [self._join]
        uplink = self._uplink
        if uplink is None:
            parts.append(self._settle)
        else:
            parts += [uplink.run, lambda: self._keep_updated(uplink)]
            if not self._safe_mode:
                parts.append(lambda: self._measure(uplink))
        await _together(parts)

    def tell(self, event: dict) -> None:
        """Tell the engine what has happened."""
        if self._uplink is None:
            self._early = self._early[-7:] + [event]  # noqa: RUF005
            return
        event["up"] = self._uplink.clock.uptime_ms()
        self._uplink.connection.report(event)

    # --- what a command does: see commands.py ----------------------------------------------------------------------

    @property
    def relay(self) -> bool:
        """Say whether the load is on."""
        return self.socket.relay

    def refusal(self, closed: bool) -> str:
        """Return why the load must not be switched on."""
        return self.socket.refusal(closed)

    def switch(self, closed: bool) -> None:
        """Switch the load."""
        self.socket.switch(closed)

    def identify(self) -> None:
        """Let the LED be found."""
        self.socket.identify()

    def configure(self, config: dict, version: int) -> bool:
        """Take a configuration; whether it holds now, and if so, say so."""
        taken = self.socket.configure(config, version)
        if taken and self._uplink is not None:
            self._uplink.connection.renew_presence()
        return taken

    def calibrate(self, reference: dict) -> str:
        """Let the meter agree with a trusted one; why it does not."""
        return self.socket.calibrate(reference)

    def restart(self) -> None:
        """Restart as soon as everything is told, and the load is off."""
        self._restart_asked = True

    def _obey(self, payload: memoryview) -> "dict | None":
        return self._commands.obey(payload)

    def _presence(self) -> dict:
        return {"firmware": release.VERSION, "config": self.socket.configuration.version}

    # --- the parts -------------------------------------------------------------------------------------------------

    async def _attend(self) -> None:
        while True:
            self.socket.state["online"] = self._uplink is not None and self._uplink.connection.online
            self.socket.state["set_up"] = self._sets_up
            self.socket.attend()
            # Fed only while the interrupt goes on, too.
            if self.socket.checks != self._checks:
                self._checks = self.socket.checks
                self._watchdog.feed()
            if self._is_set_up_anew():
                self._restart_asked = True
            if self._leaving is None and (self._restart_asked or self.socket.asked_for):
                self._leaving = asyncio.create_task(keep_running(self._leave))
            await asyncio.sleep(_ATTEND_S)

    def _is_set_up_anew(self) -> bool:
        access = self._access
        # The phone's own set-up ends by itself.
        by_phone = self._phone is not None and self._phone.has_joined
        return access.members is not self._told and access.knows_wifi and access.knows_server and not by_phone

    async def _join(self) -> None:
        self._wifi.connect(self._access.members["ssid"], self._access.members["password"])

    async def _measure(self, uplink: "Uplink") -> None:
        socket, due = self.socket, hal.ticks_ms()
        while True:
            socket.changed.clear()
            reading = socket.reading()
            if reading is None:
                # The meter has said nothing yet, or any more.
                await asyncio.sleep(_SETTLE_S)
                due = hal.ticks_ms()
                continue
            self._say_rssi(reading)
            socket.keep(uplink.delivery.add, reading)
            due = hal.ticks_add(due, socket.interval_ms)
            left_ms = hal.ticks_diff(due, hal.ticks_ms())
            if left_ms < 0 or left_ms > socket.interval_ms:
                due, left_ms = hal.ticks_ms(), 0
            try:
                await asyncio.wait_for(socket.changed.wait(), left_ms / 1000)
            except asyncio.TimeoutError:  # noqa: UP041
                continue
            # What flows now is measured first.
            await asyncio.sleep(_SETTLE_S)
            due = hal.ticks_ms()

    def _say_rssi(self, reading: dict) -> None:
        try:
            if self._wifi.is_connected():
                reading["rssi_dbm"] = self._wifi.rssi_dbm()
        except OSError:
            # It has gone between the two calls.
            return

    async def _leave(self) -> None:
        asked_for = self.socket.asked_for
        if asked_for == button.RESET:
            self._access.keep({"forget": True})
        elif asked_for == button.SET_UP:
            self._access.keep({"set_up": True})
        elif self._uplink is not None:
            await self._uplink.connection.reported(_LAST_WORDS_MS)
        while self.socket.relay:  # noqa: ASYNC110
            await asyncio.sleep(_ATTEND_S)
        self._restart()

    def _may_restart(self) -> bool:
        return not self.socket.relay

    def _restart(self) -> None:
        self.socket.rest()
        if self._started is not None and not self._started.on_trial:
            from firmware_start import open_slots

            open_slots().settle()
        hal.restart()

    def _new_set_up(self, tell: "Callable[[int, bytes], None]", over_ble: bool) -> "SetUp":
        from set_up import SetUp

        info = [b"WattAway", release.VERSION.encode(), b"ESP32", self._board["name"].encode()]
        show = self.socket.identify
        return SetUp(self._access, self._wifi, info, show, tell, lambda: self.socket.relay, over_ble)

    async def _listen_to_cable(self) -> None:
        from set_up_serial import SerialSetUp

        await SerialSetUp(self._new_set_up).run()

    async def _be_set_up(self) -> None:
        from set_up_ble import BleSetUp

        self._phone = BleSetUp(self._new_set_up)
        self.socket.on_press = self._phone.authorize
        await keep_running(self._phone.run)
        # Whoever set it up stands in front of it.
        self.socket.switch(False)
        self._restart()

    async def _end_set_up(self) -> None:
        """Go back to the network that is known after a while; the set-up goes on as long as somebody's load is on."""
        if self._access.knows_wifi:
            await asyncio.sleep(SET_UP_FOR_S)
            self.restart()

    async def _settle(self) -> None:
        """Let a start without updates succeed: else three restarts in years would end in safe mode."""
        if self._started is None or self._started.on_trial:
            return
        from firmware_start import open_slots
        from health import settle_later

        await settle_later(open_slots())

    async def _keep_updated(self, uplink: "Uplink") -> None:
        await _together(self._updating(uplink) or [self._settle])

    def _updating(self, uplink: "Uplink") -> "list[Callable[[], Awaitable[None]]]":
        http = self._access.members.get("http")
        if self._started is None or not self._trusted or not http:
            return []
        from firmware_start import open_slots
        from health import Health
        from http_client import HttpClient
        from packet_stream import tls_context
        from update import Updates

        host, port, is_tls = http_server(http)
        authority = self._access.members.get("ca")
        if is_tls and not authority:
            return []
        slots, connection, delivery = open_slots(), uplink.connection, uplink.delivery
        client = HttpClient(
            (host, port),
            self._access.members["token"],
            tls_context(authority.encode()) if is_tls and authority else None,
        )
        updates = Updates(slots, client, self._trusted, release.COUNTER, self.tell, self._may_restart, self._restart)
        signs = {"connected": lambda: connection.connections > 0, "receipted": lambda: delivery.receipts > 0}
        signs["metered"] = lambda: self.socket.reading() is not None
        health = Health(slots, self._started, (release.VERSION, release.COUNTER), signs, self.tell)
        return [lambda: health.run(self._may_restart, self._restart), updates.run]


async def _together(parts: "list[Callable[[], Awaitable[None]]]") -> None:
    await asyncio.gather(*[keep_running(part) for part in parts])
