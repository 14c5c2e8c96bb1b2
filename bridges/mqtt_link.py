"""One MQTT connection, from CONNECT to its loss; the next connection is a new object.

gmqtt does the protocol. Taken out of its hands is what would lose or delay messages here:
reconnecting (an old handler could acknowledge on the new connection) and the PUBLISH at QoS 1 (gmqtt makes a task for
each and writes each PUBACK alone: 15 µs a message instead of 3).
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gmqtt import Client, Subscription  # type: ignore[import-untyped]
from gmqtt.mqtt.constants import MQTTv311  # type: ignore[import-untyped]
from gmqtt.mqtt.handler import MQTTConnectError  # type: ignore[import-untyped]

from bridges.mqtt_packets import Publish, encode_pubacks, encode_publish, parse_publish
from domain.errors import DependencyUnavailable, SettingInvalid

_KEEPALIVE_S = 20
_CLOSE_TIMEOUT_S = 2.0
_REFUSED = 128
_WRITE_BUFFER_LIMIT_BYTES = 4 * 1024 * 1024
_MAX_PACKET_ID = 65_535
ANSWERS_WITHIN_S = 1.0
"""A broker that has not acknowledged a PUBLISH after so long stands still, as far as we know."""
_names = itertools.count(1)


@dataclass(frozen=True)
class MqttServer:
    """Where the broker is and as whom to connect."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    client_id: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _Client(Client):  # type: ignore[misc]
    """gmqtt's client, which leaves reconnecting to `MqttSession`."""

    async def reconnect(self, delay: bool = False) -> None:  # noqa: ARG002
        return


class MqttLink:
    """A live connection.

    Args:
        clean_session: the broker keeps nothing for us while we are away.
        on_publish: gets every PUBLISH; whoever gets one at QoS 1 calls `acknowledge` with its packet id, here and not
            on any other link, once it is settled.
        on_relief: called when `answers` is true again.
    """

    def __init__(
        self,
        server: MqttServer,
        on_publish: Callable[[MqttLink, Publish], None],
        *,
        clean_session: bool = False,
        on_relief: Callable[[], None] = lambda: None,
    ) -> None:
        self.number = next(_names)
        self.lost = asyncio.Event()
        self._server = server
        self._on_publish, self._on_relief = on_publish, on_relief
        self._packet_ids = itertools.count()
        self._unacknowledged: dict[int, float] = {}
        self._granted: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()
        self._client = _Client(server.client_id, clean_session=clean_session, optimistic_acknowledgement=False)
        self._client.set_auth_credentials(server.username, server.password)
        self._client.on_disconnect = lambda *_: self.lost.set()
        self._client.on_subscribe = self._note_grants
        handler = self._client._package_handler
        if not callable(getattr(handler, "_handle_publish_packet", None)):
            raise RuntimeError("this gmqtt has no `_handle_publish_packet` to take over")
        handler._handle_publish_packet = self._take
        # What `publish` sends, gmqtt knows nothing of.
        handler._handle_puback_packet = self._take_puback

    @property
    def alive(self) -> bool:
        return self._connection is not None and not self.lost.is_set() and not self._connection.is_closing()

    @property
    def answers(self) -> bool:
        """Whether the broker has acknowledged all that we have published, but for the last moment's."""
        oldest_s = next(iter(self._unacknowledged.values()), None)
        return self.alive and (oldest_s is None or time.monotonic() - oldest_s < ANSWERS_WITHIN_S)

    async def open(self, filters: Sequence[str], *, timeout_s: float) -> None:
        """Return once connected and granted every filter at QoS 1.

        Raises:
            SettingInvalid: the broker refuses the credentials or a filter.
            DependencyUnavailable: no broker, or no answer in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect()
                await self._subscribe(filters)
        except TimeoutError:
            await self.close()
            raise DependencyUnavailable("mqtt", f"no answer from {self._server} within {timeout_s:g} s") from None
        except OSError as error:
            await self.close()
            raise DependencyUnavailable("mqtt", f"{self._server}: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> None:
        connecting = asyncio.ensure_future(
            self._client.connect(
                self._server.host,
                self._server.port,
                ssl=self._server.tls or False,
                keepalive=_KEEPALIVE_S,
                version=MQTTv311,
            )
        )
        losing = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait({connecting, losing}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise DependencyUnavailable("mqtt", f"{self._server} hung up on CONNECT")
            connecting.result()
        except MQTTConnectError as refusal:
            if refusal._code in (2, 4, 5):
                raise SettingInvalid(
                    f"the MQTT broker {self._server} refuses user {self._server.username!r} with client id "
                    f"{self._server.client_id!r}: {refusal.message}"
                ) from None
            raise DependencyUnavailable("mqtt", f"{self._server}: {refusal.message}") from None
        finally:
            connecting.cancel()
            losing.cancel()

    async def _subscribe(self, filters: Sequence[str]) -> None:
        self._client.subscribe([Subscription(one, qos=1) for one in filters])
        losing = asyncio.ensure_future(self.lost.wait())
        either: set[asyncio.Future[Any]] = {self._granted, losing}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            losing.cancel()
        if not self._granted.done():
            raise DependencyUnavailable("mqtt", f"{self._server} hung up on SUBSCRIBE")
        grants = self._granted.result()
        refused = [one for one, grant in zip(filters, grants, strict=True) if grant >= _REFUSED or grant < 1]
        if refused:
            raise SettingInvalid(
                f"the MQTT broker {self._server} does not grant {self._server.username!r} {', '.join(refused)} at QoS 1"
            )

    def _note_grants(self, _client: Client, _mid: int, grants: Sequence[int], _properties: Any) -> None:
        if not self._granted.done():
            self._granted.set_result(grants)

    def _take(self, first_byte: int, body: bytes) -> None:
        try:
            publish = parse_publish(first_byte, body)
        except IndexError:
            self.abort()
            return
        self._on_publish(self, publish)

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        """Send a PUBACK for each; on a link that is gone do nothing (the broker delivers them again)."""
        if self.alive:
            self._connection.send_package(encode_pubacks(packet_ids))

    def send(self, packets: Sequence[bytes]) -> bool:
        """Send encoded packets in one write; False if the link is gone or the broker does not keep up."""
        if not self.alive or self._transport.get_write_buffer_size() > _WRITE_BUFFER_LIMIT_BYTES:
            return False
        self._connection.send_package(b"".join(packets))
        return True

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish at QoS 1, not retained; False if it was not sent. `answers` tells what became of all of them."""
        packet_id = next(self._packet_ids) % _MAX_PACKET_ID + 1
        if not self.send([encode_publish(topic, payload, packet_id)]):
            return False
        self._unacknowledged.pop(packet_id, None)
        self._unacknowledged[packet_id] = time.monotonic()
        return True

    def _take_puback(self, _first_byte: int, body: bytes) -> None:
        stood_still = not self.answers
        self._unacknowledged.pop(int.from_bytes(body[:2], "big"), None)
        if stood_still and self.answers:
            self._on_relief()

    def pause(self) -> None:
        """Read no more from the broker, until `resume`."""
        if self.alive:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.alive:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.lost.set()
        if self._connection is not None:
            self._transport.abort()

    async def close(self) -> None:
        """DISCONNECT and close; what is not acknowledged stays with the broker."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._client.disconnect()
        except (TimeoutError, OSError):
            self.abort()
        self.lost.set()

    @property
    def _connection(self) -> Any:
        """gmqtt's connection; None before it is made."""
        return self._client._connection

    @property
    def _transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self._client._connection._transport
        return transport
