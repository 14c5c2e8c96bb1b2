"""The socket's way to the engine, put together: clock, flash ring, delivery, connection.

What `main` does with it:

    uplink = Uplink(server, flash.ring, record_of_bases, presence, obey, network=wifi.is_connected)
    asyncio.create_task(uplink.run())
    ...
    uplink.delivery.add({"power_mw": 98200, "relay": True, ...})    # each interval; safe in flash once it returns
    uplink.connection.report({"event": "trip", "cause": ...})       # anything for the status topic
    uplink.connection.renew_presence()                              # after a new configuration
    await uplink.connection.reported(5_000)                         # before a restart: is everything told?

`uplink.clock.now_ms()` is the time (None: not known yet), `uplink.connection.online` and `uplink.delivery.receipts` are
what the LED and the health gate of an update ask for. Neither `add` nor `report` waits for anything, nothing in here
knows the relay, and `run` never ends.
"""

import asyncio

import hal
from clock import Clock, Dating
from connection import Connection
from delivery import Delivery
from flash_ring import FlashRing
from keep_running import keep_running
from mqtt import Link
from packet_stream import PacketStream, tls_context
from time_sync import NTP_SERVERS, TimeSync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hal import Flash
    from records import Record

BASES_SLOT_SIZE = 128
"""Bytes of a slot of the `Record` for the bases."""
_LOOK_MS = 200


class Uplink:
    """
    Args:
        server: members `host`, `port`, `device_id`, `token`; `ca` (PEM or DER bytes: TLS, and nobody else is trusted),
            `server_name` (that its certificate bears, if not the host), `web` (host, port, whether by HTTPS: for
            the time), `ntp` (servers instead of the public ones).
        ring_flash: the partition of the readings.
        bases: a `Record` with slots of `BASES_SLOT_SIZE`, for the beginnings of boots.
        presence: called without arguments; `firmware` and `config` of the presence.
        obey: called with a command's payload; the answer (a dict) or None.
        network: whether there is one, such as `Wifi.is_connected`.
        boot: this boot's number; random unless given.
        patience: `answer_ms` of a `Link`, `resend_ms` and `sync_wait_ms` of a `Delivery`, where they shall differ.
    """

    def __init__(
        self,
        server: dict,
        ring_flash: "Flash",
        bases: "Record",
        presence: "Callable[[], dict]",
        obey: "Callable[[memoryview], dict | None]",
        network: "Callable[[], bool]",
        boot: "int | None" = None,
        patience: "dict | None" = None,
    ) -> None:
        self.boot = int.from_bytes(hal.random_bytes(4), "big") if boot is None else boot
        self._server, self._network, self._presence = server, network, presence
        self._tls = tls_context(server["ca"]) if server.get("ca") else None
        waits = {"answer_ms": 10_000, "resend_ms": 15_000, "sync_wait_ms": 30_000}
        waits.update(patience or {})
        self._answer_ms = waits["answer_ms"]
        self._stream = PacketStream()
        self.clock = Clock()
        self.ring = FlashRing(ring_flash)
        self._dating = Dating(bases, self.boot)
        self.delivery = Delivery(
            self.ring, self.boot, self.clock, self._dating, waits["resend_ms"], waits["sync_wait_ms"]
        )
        ntp = server.get("ntp")
        self.time_sync = TimeSync(self.clock, NTP_SERVERS if ntp is None else ntp, server.get("web"))
        self.connection = Connection(
            server["device_id"],
            self._new_link,
            self.delivery,
            self._members,
            obey,
            ready=self._ready,
            base_ms=self.clock.base_ms,
        )

    async def run(self) -> None:
        """Keep the time and the connection, for ever."""
        parts = (self.time_sync.run, self._date_readings, self.connection.run)
        await asyncio.gather(*[keep_running(part) for part in parts])

    async def _date_readings(self) -> None:
        """Keep when this boot began as soon as that is known: another boot may have to send its readings."""
        await self.time_sync.known()
        base_ms = self.clock.base_ms()
        if base_ms is not None:
            self._dating.fix(base_ms)

    async def _ready(self) -> bool:
        """Wait for the network and, if a certificate's dates are to be checked, for the time; whether that took any."""
        waited = False
        while not self._network():
            waited = True
            await asyncio.sleep(_LOOK_MS / 1000)
        if self._tls is not None and self.clock.now_ms() is None:
            waited = True
            await self.time_sync.known()
        return waited

    def _members(self) -> dict:
        members = {"boot": f"{self.boot:08x}"}
        members.update(self._presence())
        return members

    def _new_link(self, will: "tuple[str, bytes]", on_message: "Callable[..., Any]") -> Link:
        server = self._server
        login = (server["device_id"], server["device_id"], server["token"])
        return Link(
            self._stream,
            (server["host"], server["port"]),
            login,
            on_message,
            will=will,
            tls=self._tls,
            server_name=server.get("server_name"),
            answer_ms=self._answer_ms,
        )
