"""Keeps the socket connected: logs in, subscribes, says that it is online, sends, and starts over with a growing pause.

Nothing in here knows the relay: whatever the network does, the load stays as it is.
"""

import asyncio
import gc
import json

import hal
from mqtt import LinkLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from delivery import Delivery
    from mqtt import Link

FIRST_PAUSE_MS = 1_000
LONGEST_PAUSE_MS = 60_000
_STABLE_MS = 30_000
_REPORTS_MAX = 16
_TIME_WITHIN_MS = 30_000
_LOOK_S = 0.1


class Connection:
    """
    Args:
        device_id: names the topics.
        new_link: called with (will, on_message); a `Link` that is not open yet.
        delivery: a `Delivery`.
        presence: called without arguments; the members of an online presence besides `online`.
        obey: called with a command's payload; the answer (a dict) or None.
        ready: awaited before each attempt: until there is a network, and for TLS the time. Whether that took waiting:
            then the pauses begin anew.
        base_ms: when this boot began, in ms since 1970, None as long as nobody knows (`Clock.base_ms`).

    Attributes:
        online: whether the engine has been told so over the present connection.
        connections: how many stood so far.
        last_error: why the last one ended or was not made.
    """

    def __init__(
        self,
        device_id: str,
        new_link: "Callable[..., Link]",
        delivery: "Delivery",
        presence: "Callable[..., Any]",
        obey: "Callable[..., Any]",
        ready: "Callable[[], Awaitable[bool]] | None" = None,
        base_ms: "Callable[[], int | None] | None" = None,
    ) -> None:
        self._status, self._data = f"devices/{device_id}/status", f"devices/{device_id}/data"
        self._commands, self._receipts = f"devices/{device_id}/commands", f"devices/{device_id}/receipts"
        self._new_link, self._delivery, self._presence, self._obey = new_link, delivery, presence, obey
        self._ready, self._base_ms = ready, base_ms or (lambda: None)
        self._link: Link | None = None
        self._reports: list[dict] = []
        self._reported = asyncio.Event()
        self._pause_ms = FIRST_PAUSE_MS
        self._present = False
        self.online = False
        self.connections = 0
        self.last_error: str | None = None

    def report(self, members: dict) -> None:
        """Send a report on the status topic, also after a new connection.

        Its `up` (when it happened, by the uptime) becomes `at` once the time is known: a new connection waits a while
        for that. Of more than 16 that wait the oldest warning goes, else the oldest that is no trip.
        """
        self._reports.append(members)
        if len(self._reports) > _REPORTS_MAX:
            kinds = [one.get("event") for one in self._reports]
            others = [at for at, kind in enumerate(kinds) if kind != "trip"]
            self._reports.pop(kinds.index("warning") if "warning" in kinds else (others or [0])[0])
        self._reported.set()

    def renew_presence(self) -> None:
        """Say again that it is online, since its firmware or configuration is another one now."""
        self._present = False
        self._reported.set()

    async def reported(self, within_ms: int) -> bool:
        """Wait until every report has been acknowledged, as before a restart; whether that was in time."""
        began = hal.ticks_ms()
        while self._reports and hal.ticks_diff(hal.ticks_ms(), began) < within_ms:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return not self._reports

    async def run(self) -> None:
        """Connect, for ever."""
        while True:
            if self._ready is not None and await self._ready():
                self._pause_ms = FIRST_PAUSE_MS
            # What the last connection left is given back in one piece before the next one asks for memory.
            gc.collect()
            began = hal.ticks_ms()
            try:
                await self._connect_once()
            except Exception as error:
                # Whatever it is, also a want of memory: a socket that no longer tries is lost to its owner.
                self.last_error = str(error) if isinstance(error, LinkLost) else f"{error!r}"
            finally:
                self.online = False
                self._close("closed")
            if hal.ticks_diff(hal.ticks_ms(), began) > _STABLE_MS:
                self._pause_ms = FIRST_PAUSE_MS
            await asyncio.sleep(self._next_pause_ms() / 1000)

    def _next_pause_ms(self) -> int:
        """Return a random pause of half to all of the present one, and double that one."""
        pause_ms, self._pause_ms = self._pause_ms, min(2 * self._pause_ms, LONGEST_PAUSE_MS)
        chance = int.from_bytes(hal.random_bytes(2), "big")
        return pause_ms // 2 + (pause_ms // 2 * chance >> 16)

    async def _connect_once(self) -> None:
        self._link = link = self._new_link((self._status, b'{"online":false}'), self._take)
        await link.open()
        self._present = False
        await link.subscribe([(self._commands, 1), (self._receipts, 0)])
        self.connections += 1
        tasks = [
            asyncio.create_task(self._until_lost(part, link)) for part in (self._send_reports, self._send_readings)
        ]
        try:
            self.last_error = await link.ended()
        finally:
            for task in tasks:
                task.cancel()

    async def _until_lost(self, part: "Callable[[Link], Awaitable[None]]", link: "Link") -> None:
        try:
            await part(link)
        except LinkLost:
            return
        except Exception as error:
            # A defect in here must not leave the socket connected and silent.
            self._close(f"{error!r}")

    async def _send_readings(self, link: "Link") -> None:
        async def publish(payload: "memoryview") -> None:
            await link.publish(self._data, payload)

        await self._delivery.send(publish)

    async def _send_reports(self, link: "Link") -> None:
        began = hal.ticks_ms()
        while True:
            members = self._next_report(began)
            if not self._present:
                self._present = True
                presence = {"online": True}
                presence.update(self._presence())
                await link.publish(self._status, json.dumps(presence).encode(), retain=True)
                self.online = True
            elif members is not None:
                await link.publish(self._status, json.dumps(members).encode())
                if members in self._reports:
                    self._reports.remove(members)
            elif self._reports:
                await asyncio.sleep(_LOOK_S)
            else:
                self._reported.clear()
                await self._reported.wait()

    def _next_report(self, began: int) -> "dict | None":
        """Return what is sent next, with its time; what lacks that lets the others go first."""
        base_ms = self._base_ms()
        waits = base_ms is None and hal.ticks_diff(hal.ticks_ms(), began) < _TIME_WITHIN_MS
        for members in self._reports:
            if base_ms is not None and "up" in members:
                members["at"] = base_ms + members.pop("up")
            if not (waits and "up" in members):
                return members
        return None

    def _take(self, topic: str, payload: memoryview) -> None:
        if topic == self._receipts:
            self._delivery.take_receipt(payload)
            self._pause_ms = FIRST_PAUSE_MS
        elif topic == self._commands:
            answer = self._obey(payload)
            if answer is not None:
                self.report(answer)

    def _close(self, why: str) -> None:
        if self._link is not None:
            self._link.close(why)
