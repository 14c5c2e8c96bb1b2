"""A role's MQTT session: one link after the other, for as long as the role runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Protocol

import structlog
from prometheus_client import Gauge

from bridges.mqtt_link import MqttLink, MqttServer
from bridges.mqtt_packets import Publish
from domain.backoff import Backoff
from domain.errors import DependencyUnavailable, SettingInvalid

log = structlog.get_logger()

_OPEN_TIMEOUT_S = 10.0
# A link that is lost sooner was no success: two bridges of one name throw each other out for ever.
_STEADY_AFTER_S = 10.0


class Taker(Protocol):
    """Takes what comes."""

    def take(self, link: MqttLink, publish: Publish) -> None:
        """A PUBLISH and the link that it came over."""

    async def has_room(self) -> None:
        """Return once a new connection may bring more."""


class MqttSession:
    """Keeps a link to the broker; what comes over it goes to the intake.

    The broker keeps a persistent session while no link is up, so everything at QoS 1 waits there; of a clean one it
    keeps nothing.

    Args:
        connected: 1 while there is a link.
        on_relief: called when a broker that stood still acknowledges again.
    """

    def __init__(
        self,
        server: MqttServer,
        filters: Sequence[str],
        intake: Taker,
        connected: Gauge,
        *,
        clean_session: bool = False,
        on_relief: Callable[[], None] = lambda: None,
    ) -> None:
        self._clean_session, self._on_relief = clean_session, on_relief
        self._server = server
        self._filters = filters
        self._intake = intake
        self._connected = connected
        self._link: MqttLink | None = None

    async def start(self) -> None:
        """Open the first link.

        Raises:
            DependencyUnavailable: no broker there.
            SettingInvalid: it refuses us.
        """
        await self._open()

    async def run(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set, with the last link still open so that acknowledgements can follow."""
        backoff = Backoff()
        while not stop.is_set():
            if self._link is not None and self._link.alive:
                since = time.monotonic()
                await _first(self._link.lost.wait(), stop.wait())
                if stop.is_set():
                    return
                self._note_loss(time.monotonic() - since, backoff)
            await _pause(backoff.delay_s(), stop)
            await _first(self._intake.has_room(), stop.wait())
            if not stop.is_set():
                await self._try_to_open()

    async def _try_to_open(self) -> None:
        try:
            await self._open()
        except (DependencyUnavailable, SettingInvalid) as error:
            # A broker that restarts may refuse us for a while, so a refusal is not the end either.
            log.warning("mqtt out of reach", reason=str(error))

    async def _open(self) -> None:
        link = MqttLink(self._server, self._intake.take, clean_session=self._clean_session, on_relief=self._on_relief)
        await link.open(self._filters, timeout_s=_OPEN_TIMEOUT_S)
        self._link = link
        self._connected.set(1)
        log.info("mqtt connected", server=str(self._server), link=link.number)

    def _note_loss(self, lasted_s: float, backoff: Backoff) -> None:
        self._connected.set(0)
        log.warning("mqtt connection lost", server=str(self._server), after_s=round(lasted_s, 1))
        if lasted_s >= _STEADY_AFTER_S:
            backoff.reset()

    def send(self, packets: list[bytes]) -> bool:
        """Send encoded packets now; False if there is no link or it does not keep up."""
        return self._link is not None and self._link.send(packets)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish at QoS 1 now; False if there is no link or it does not keep up."""
        return self._link is not None and self._link.publish(topic, payload)

    @property
    def answers(self) -> bool:
        """Whether there is a link, and a broker that acknowledges what it is sent."""
        return self._link is not None and self._link.answers

    async def close(self) -> None:
        """Disconnect; the broker keeps the session."""
        link, self._link = self._link, None
        self._connected.set(0)
        if link is not None:
            await link.close()


async def _first(*awaited: Coroutine[None, None, object]) -> None:
    """Return when one of these has."""
    tasks = [asyncio.ensure_future(one) for one in awaited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _pause(delay_s: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(delay_s):
            await stop.wait()
