"""Keeps the clock right: asks NTP servers, or the engine's web server where none answers, and believes no lone liar.

A first time is taken from whoever says one that can be true; one that moves a known time by more than a minute needs
two that agree, or the same again in the next round.
"""

import asyncio
import socket

import hal
import http_date
from clock import ntp_answer_ms, ntp_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from clock import Clock

NTP_SERVERS = ("0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "time.cloudflare.com")
NTP_PORT = 123
ANSWER_MS = 2_000
WEB_ANSWER_MS = 15_000
"""A board takes seconds for the handshake of TLS."""
FIRST_PAUSE_MS = 2_000
LONGEST_PAUSE_MS = 64_000
INTERVAL_MS = 3_600_000
AGREE_MS = 2_000
LEAP_MS = 60_000


class TimeSync:
    """
    Args:
        clock: a `Clock`.
        servers: names or (name, port) of NTP servers, each asked until two agree.
        web_server: (host, port, whether by HTTPS), asked if no NTP server answers; None: nobody.

    Attributes:
        rounds: how often the time was taken.
    """

    def __init__(
        self,
        clock: "Clock",
        servers: "Iterable[str | tuple[str, int]]" = NTP_SERVERS,
        web_server: "tuple[str, int, bool] | None" = None,
    ) -> None:
        self._clock, self._web_server = clock, web_server
        self._servers = [(one, NTP_PORT) if isinstance(one, str) else one for one in servers]
        self._doubted_ms: int | None = None
        self._known = asyncio.Event()
        self.rounds = 0

    async def known(self) -> None:
        """Wait until the time is known."""
        await self._known.wait()

    async def run(self) -> None:
        """Ask, for ever: soon again until the time is known, then every hour."""
        pause_ms = FIRST_PAUSE_MS
        while True:
            if await self.ask_once():
                pause_ms = FIRST_PAUSE_MS
                await asyncio.sleep(INTERVAL_MS / 1000)
            else:
                await asyncio.sleep(pause_ms / 1000)
                pause_ms = min(2 * pause_ms, LONGEST_PAUSE_MS)

    async def ask_once(self) -> bool:
        """Ask until two agree, or each was asked; whether the time was taken."""
        base_ms, is_agreed = await self._asked()
        if base_ms is None or not (is_agreed or self._is_believable(base_ms)):
            return False
        now_ms = base_ms + self._clock.uptime_ms()
        if not self._clock.set(now_ms):
            return False
        self._doubted_ms = None
        hal.set_utc(now_ms)
        self.rounds += 1
        self._known.set()
        return True

    async def _asked(self) -> "tuple[int | None, bool]":
        """Return when this boot began by two that agree, else by who answered first, and whether two agreed.

        Comparing that instead of the time itself, answers can be compared that came one after the other.
        """
        first: int | None = None
        told: list[int] = []
        for server in self._servers:
            base_ms = await self._base_by(_ask_ntp(server), ANSWER_MS)
            if base_ms is None:
                continue
            for other in told:
                if abs(other - base_ms) <= AGREE_MS:
                    return base_ms, True
            told.append(base_ms)
            first = base_ms if first is None else first
        if first is None and self._web_server is not None:
            first = await self._base_by(http_date.ask(self._web_server), WEB_ANSWER_MS)
        return first, False

    async def _base_by(self, asking: "Awaitable[int | None]", within_ms: int) -> "int | None":
        try:
            now_ms = await asyncio.wait_for(asking, within_ms / 1000)
        except (OSError, ValueError, asyncio.TimeoutError):  # noqa: UP041
            return None
        return None if now_ms is None else now_ms - self._clock.uptime_ms()

    def _is_believable(self, base_ms: int) -> bool:
        known = self._clock.base_ms()
        if known is None or abs(base_ms - known) <= LEAP_MS:
            return True
        if self._doubted_ms is not None and abs(base_ms - self._doubted_ms) <= LEAP_MS:
            return True
        self._doubted_ms = base_ms
        return False


async def _ask_ntp(server: "tuple[str, int]") -> "int | None":
    """Return what an NTP server says, in ms since 1970, or None if its answer is none. Raises OSError."""
    address = socket.getaddrinfo(server[0], server[1], 0, socket.SOCK_DGRAM)[0]
    sock, nonce = socket.socket(address[0], address[1]), hal.random_bytes(8)
    try:
        sock.setblocking(False)
        sock.connect(address[-1])
        began = hal.ticks_ms()
        sock.send(ntp_request(nonce))
        while True:
            await asyncio.sleep(0.01)
            try:
                answer = sock.recv(64)
            except OSError as error:
                if error.errno != 11:  # EAGAIN: nothing has come yet.
                    raise
                continue
            if len(answer) >= 48 and answer[24:32] == nonce:
                return ntp_answer_ms(answer, nonce, hal.ticks_diff(hal.ticks_ms(), began))
    finally:
        sock.close()
