"""Asks the server for newer firmware, brings it in, and lets it have its trial once the load is off.

Source: docs/protocol.md, "Updates".
"""

import asyncio
import gc

import hal
from download import PROGRESS_AT, PROGRESS_SLOT_SIZE, Download
from firmware_image import BadImage
from http_client import HttpFailed
from records import SECTOR_SIZE, Record
from slots import PARTITIONS, STATE_PARTITION
from strict_json import NotJson, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from http_client import HttpClient
    from slots import Slots

PATH = "/api/v1/device/firmware"
FIRST_CHECK_S = 60
CHECK_EVERY_S = 3600
# Checks after a start (6 to 12 hours) before a release that has failed here may have another trial.
CHECKS_BEFORE_RETRY = 6
OFFER_BYTES_MAX = 1024
TRIES_WITHOUT_PROGRESS = 6
_LONGEST_PAUSE_S = 60


class Updates:
    """
    Args:
        slots: a `Slots`.
        client: an `HttpClient`.
        trusted: (board, modulus): images for this board, signed by this key.
        counter: of the release that runs.
        report: called with the members of an event for the status topic.
        may_restart: whether the load is off.
        restart: starts the board anew.
    """

    def __init__(
        self,
        slots: "Slots",
        client: "HttpClient",
        trusted: "tuple[str, bytes]",
        counter: int,
        report: "Callable[[dict], None]",
        may_restart: "Callable[[], bool]",
        restart: "Callable[[], None]",
    ) -> None:
        self._slots, self._client, self._trusted, self._counter = slots, client, trusted, counter
        self._report, self._may_restart, self._restart = report, may_restart, restart
        self._record = Record(hal.Flash(STATE_PARTITION), PROGRESS_AT, PROGRESS_SLOT_SIZE)
        self._sector = memoryview(bytearray(SECTOR_SIZE))
        self._checks = 0
        self.last_error: str | None = None

    async def run(self) -> None:
        """Look for updates, for ever."""
        pause_s = FIRST_CHECK_S
        while True:
            await asyncio.sleep(_spread(pause_s))
            if await self.check():
                await restart_when_off(self._may_restart, self._restart)
            pause_s = CHECK_EVERY_S

    async def check(self) -> bool:
        """Ask once; whether an update waits for the restart."""
        self._checks += 1
        gc.collect()
        version = ""
        try:
            offer = await self._ask()
            if offer is None or not self._slots.may_install(offer["counter"], self._counter):
                return False
            if offer["counter"] == self._slots.tried and self._checks <= CHECKS_BEFORE_RETRY:
                return False
            version = offer["version"]
            await self._bring(offer)
        except BadImage as error:
            self.last_error = error.args[0]
            self._report({"event": "update", "result": "refused", "version": version, "reason": error.args[0]})
            return False
        except (HttpFailed, OSError, ValueError, MemoryError) as error:
            self.last_error = str(error)
            return False
        self._report({"event": "update", "result": "staged", "version": version})
        return True

    async def _ask(self) -> "dict | None":
        """Return what the server offers, None if nothing. Raises HttpFailed."""
        response = await self._client.get(PATH + "?board=" + self._trusted[0] + "&counter=" + str(self._counter))
        try:
            if response.status == 204:
                return None
            if response.status != 200:
                raise HttpFailed("status " + str(response.status))
            return read_offer(await response.text(OFFER_BYTES_MAX))
        finally:
            response.close()

    async def _bring(self, offer: dict) -> None:
        """Download, check, and stage. Raises BadImage, HttpFailed."""
        slot = self._slots.target()
        flash = hal.Flash(PARTITIONS[slot])
        download = Download(self._record, flash, slot, offer, self._trusted, self._sector)
        tries, pause_s = 0, 1
        while not download.is_complete:
            before = download.at
            try:
                await self._go_on(download, offer["url"])
            except HttpFailed:
                if download.at > before:
                    tries, pause_s = 0, 1
                tries += 1
                if tries >= TRIES_WITHOUT_PROGRESS:
                    raise
                await asyncio.sleep(_spread(pause_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        download.check()
        self._slots.stage(slot, offer["counter"])

    async def _go_on(self, download: Download, url: str) -> None:
        response = await self._client.get(url, download.headers())
        try:
            await download.take(response)
        finally:
            response.close()


def read_offer(text: bytes) -> dict:
    """Return what the server offers. Raises HttpFailed if it makes no sense."""
    try:
        offer = parse(text)
    except NotJson:
        raise HttpFailed("offer") from None
    if not isinstance(offer, dict):
        raise HttpFailed("offer")
    version, url, mark = offer.get("version"), offer.get("url"), offer.get("sha256")
    if not isinstance(version, str) or not 0 < len(version) <= 24:
        raise HttpFailed("offer")
    if not isinstance(mark, str) or len(mark) != 64 or any(one not in "0123456789abcdef" for one in mark):
        raise HttpFailed("offer")
    if not isinstance(url, str) or len(url) > 200 or url[:1] != "/" or any(not 32 < ord(one) < 127 for one in url):
        raise HttpFailed("offer")
    for name in ("counter", "size"):
        if type(offer.get(name)) is not int or not 0 < offer[name] < 1 << 30:
            raise HttpFailed("offer")
    return offer


async def restart_when_off(may_restart: "Callable[[], bool]", restart: "Callable[[], None]") -> None:
    """Start anew as soon as that switches nobody's load."""
    while not may_restart():  # noqa: ASYNC110
        await asyncio.sleep(1)
    restart()


def _spread(pause_s: int) -> float:
    """Return a random pause of one to two times `pause_s`, so that a fleet does not come at once."""
    return pause_s + pause_s * int.from_bytes(hal.random_bytes(2), "big") / 65536
