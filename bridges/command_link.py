"""The dispatcher's side of MQTT: hears who is there and what they answer, sends commands at QoS 1, never retained."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from prometheus_client import Gauge

from bridges.mqtt_link import MqttLink, MqttServer
from bridges.mqtt_packets import Publish
from bridges.mqtt_session import MqttSession
from bridges.presence_watch import PresenceWatch
from domain.errors import PayloadRejected
from domain.wire import (
    STATUS_FILTER,
    CommandReport,
    PresenceReport,
    commands_topic,
    decode_status,
    parse_device_topic,
)


class CommandLink:
    """A clean session: the broker tells the presence of every socket anew on each connection.

    Args:
        on_presence: told a device's id when it has said that it is there, or gone.
        on_answer: told a device's id and what it has answered to a command.
        on_relief: told that a broker that stood still goes on.
    """

    def __init__(
        self,
        server: MqttServer,
        connected: Gauge,
        on_presence: Callable[[str], None],
        on_answer: Callable[[str, CommandReport], None],
        on_relief: Callable[[], None],
    ) -> None:
        self._on_presence, self._on_answer = on_presence, on_answer
        self._session = MqttSession(server, (STATUS_FILTER,), self, connected, clean_session=True, on_relief=on_relief)
        self._link: MqttLink | None = None
        self.presence = PresenceWatch()

    async def start(self) -> None:
        """Return once subscribed; what is retained follows.

        Raises:
            DependencyUnavailable: no broker there.
            SettingInvalid: it refuses us.
        """
        await self._session.start()

    def run(self, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        """Stay connected until `stop` is set."""
        return self._session.run(stop)

    async def close(self) -> None:
        await self._session.close()

    def reaches(self, device_id: str) -> bool:
        """Whether a command sent now would reach its socket, as far as we know."""
        return self._link is not None and self._link.answers and self.presence.is_online(device_id)

    def has_said_it_is_there(self, device_id: str) -> bool:
        """Whether its socket has been heard over this connection."""
        return self.presence.is_certain(device_id)

    @property
    def answers(self) -> bool:
        """Whether there is a broker and it goes on: else neither we nor the bridge hears what sockets say."""
        return self._session.answers

    def send(self, device_id: str, payload: bytes) -> bool:
        """Send a command; False if there is no connection. Whether it arrives only the socket's answer tells."""
        return self._session.publish(commands_topic(device_id), payload)

    # --- what the session asks of a taker ---------------------------------------------------------------

    def take(self, link: MqttLink, publish: Publish) -> None:
        """Note a presence or an answer; the bridge sees to all that sockets say, wrong things included."""
        if publish.packet_id is not None:
            link.acknowledge((publish.packet_id,))
        if link is not self._link:
            self._link = link
            self.presence.clear()
        try:
            device_id, _ = parse_device_topic(publish.topic)
            report = decode_status(publish.payload)
        except PayloadRejected:
            return
        if isinstance(report, PresenceReport):
            self.presence.note(device_id, report, kept=publish.retained)
            self._on_presence(device_id)
        elif isinstance(report, CommandReport):
            self.presence.note_answer(device_id)
            self._on_answer(device_id, report)

    async def has_room(self) -> None:
        """There always is."""
