"""A virtual socket on a real MQTT connection: says it is there, sends, keeps what has no receipt, comes back.

It behaves as docs/protocol.md asks of a socket: presence with a last will, QoS 1, readings kept until a receipt names
them, sent again after a reconnection and after a time-out, backlog in lists between the live readings, commands
obeyed once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from domain.clock import Clock, SystemClock
from domain.command_wire import WireCommand
from domain.errors import DependencyUnavailable, PayloadRejected
from domain.wire import (
    PresenceReport,
    commands_topic,
    data_topic,
    decode_receipt,
    encode_status,
    receipts_topic,
    status_topic,
)
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login
from ops.simulator.mqtt_packets import Message, Will, encode_text
from ops.simulator.obedience import CommandFaults, Obedience
from ops.simulator.outbox import Outbox

FIRMWARE = "simulated-1"
MOST_IN_FLIGHT = 100
"""Messages without a PUBACK, beyond which live readings wait too."""


class Sent(NamedTuple):
    """What a PUBACK stands for."""

    readings: int = 0
    is_list: bool = False


@dataclass(frozen=True)
class Endpoint:
    """The broker that sockets connect to."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class LinkTiming:
    """How patient a socket is; tests shorten it."""

    first_backoff_s: float = 1.0
    longest_backoff_s: float = 60.0
    connect_timeout_s: float = 20.0
    resend_after_s: float = 15.0
    keep_alive_s: int = 30
    restart_after_s: float = 0.1


@dataclass
class Tally:
    """What a fleet has done, counted in readings."""

    measured: int = 0
    sent: int = 0
    pubacked: int = 0
    receipted: int = 0
    connections: int = 0
    refusals: int = 0
    last_refusal: str = ""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at each receipt; clear it before waiting for the next."""


class SocketDevice:
    """One socket.

    Args:
        token: its MQTT password.
        boot: 8 hex digits that name this start of it.
        gate: held while connecting, so that a fleet does not open all its connections at once.
        lists_only: nothing is live: everything goes out in lists (replay at full speed).
        on_act: told each command that it obeys, once it has.
        faults: what befalls its commands and answers.
    """

    def __init__(
        self,
        device_id: str,
        *,
        token: str,
        boot: str,
        endpoint: Endpoint,
        gate: asyncio.Semaphore,
        tally: Tally,
        timing: LinkTiming | None = None,
        lists_only: bool = False,
        clock: Clock | None = None,
        on_act: Callable[[WireCommand], None] = lambda _command: None,
        faults: CommandFaults | None = None,
    ) -> None:
        self.device_id, self.boot = device_id, boot
        self._boots, self._on_act, self._faults = {boot}, on_act, faults or CommandFaults()
        self.obedience = Obedience(clock or SystemClock(), self._act)
        self.measured = 0
        self._timing = timing or LinkTiming()
        self.outbox = Outbox(self._timing.resend_after_s)
        self._gate, self._tally, self._lists_only = gate, tally, lists_only
        self._random = Random(f"{device_id} {boot}")  # noqa: S311 - jitter, not a secret
        self._topic = encode_text(data_topic(device_id))
        self._client: MqttClient | None = None
        self._lists_in_flight = self._attempts = 0
        self._pumping: asyncio.TimerHandle | None = None
        self._login = _login(device_id, token, endpoint, self._timing)

    @property
    def online(self) -> bool:
        return self._client is not None and not self._client.closed.done()

    def offer(self, seq: int, payload: bytes) -> None:
        """Take a new reading (JSON object): it goes out at once if there is a connection, and is kept in any case."""
        self.measured += 1
        self._tally.measured += 1
        self.outbox.keep(seq, payload)
        if not self.online:
            return
        if not self._lists_only:
            self._send_live()
        self._pump_soon(0.02)

    async def stay_connected(self) -> None:
        """Connect, and again whenever the connection is lost, until cancelled; then say goodbye."""
        while True:
            try:
                client = await self._connect()
                await self._serve(client)
            except DependencyUnavailable as error:
                self._tally.refusals += 1
                self._tally.last_refusal = str(error)
            self._disconnected()
            await asyncio.sleep(self._backoff_s())

    def break_connection(self) -> None:
        """Lose the connection without a goodbye, as in a power cut."""
        if self._client is not None:
            self._client.abort()

    # --- connection -------------------------------------------------------------------------------------

    async def _connect(self) -> MqttClient:
        self._attempts += 1
        async with self._gate:
            client = await connect(
                self._login,
                on_message=self._on_message,
                on_puback=self._on_puback,
                timeout_s=self._timing.connect_timeout_s,
            )
            try:
                own = [(receipts_topic(self.device_id), 0), (commands_topic(self.device_id), 1)]
                await client.subscribe(own, self._timing.connect_timeout_s)
            except BaseException:
                client.abort()
                raise
            return client

    async def _serve(self, client: MqttClient) -> None:
        try:
            self._client = client
            self._report_presence(online=True)
            self._tally.connections += 1
            # At once, so that no reading of this moment overtakes those that waited for the connection.
            self._pump()
            while not client.closed.done():
                await asyncio.wait({client.closed}, timeout=self._timing.resend_after_s / 4)
                if self.outbox.mark_overdue(asyncio.get_running_loop().time()):
                    self._pump_soon(0)
        except asyncio.CancelledError:
            await self._say_goodbye(client)
            raise
        finally:
            client.abort()

    async def _say_goodbye(self, client: MqttClient) -> None:
        """A clean DISCONNECT drops the will, so the socket has to say itself that it goes."""
        if not client.closed.done():
            self._report_presence(online=False)
            await client.disconnect(timeout_s=2)

    def _report_presence(self, *, online: bool) -> None:
        version = self.obedience.config_version
        self._report(encode_status(PresenceReport(online, self.boot, FIRMWARE, version)), retain=True)

    def _report(self, payload: bytes, *, retain: bool = False) -> None:
        if self._client is not None and not self._client.closed.done():
            self._client.publish(encode_text(status_topic(self.device_id)), payload, Sent(), retain=retain)

    def _disconnected(self) -> None:
        self._client = None
        self._lists_in_flight = 0
        if self._pumping is not None:
            self._pumping.cancel()
            self._pumping = None
        self.outbox.mark_connection_lost()

    def _backoff_s(self) -> float:
        """Exponential and jittered, so that a fleet does not come back in step."""
        limit_s = min(self._timing.longest_backoff_s, self._timing.first_backoff_s * 2.0 ** min(self._attempts - 1, 16))
        return limit_s * self._random.uniform(0.5, 1.0)

    # --- sending ----------------------------------------------------------------------------------------

    def _send_live(self) -> None:
        if self._client is None or self._client.in_flight > MOST_IN_FLIGHT:
            return
        payload = self.outbox.take_newest(asyncio.get_running_loop().time())
        if payload is not None:
            self._publish(payload, Sent(1, False))

    def _publish(self, payload: bytes, sent: Sent) -> None:
        if self._client is not None:
            self._client.publish(self._topic, payload, sent)
            self._tally.sent += sent.readings

    def _pump_soon(self, delay_s: float) -> None:
        if self._pumping is None:
            self._pumping = asyncio.get_running_loop().call_later(delay_s, self._pump)

    def _pump(self) -> None:
        """Send waiting lists, few at a time, so that a long backlog leaves room for live readings."""
        self._pumping = None
        while self.online and self._lists_in_flight < (4 if self._lists_only else 1):
            taken = self.outbox.take_list(asyncio.get_running_loop().time())
            if taken is None:
                return
            self._lists_in_flight += 1
            payload, readings = taken
            self._publish(payload, Sent(readings, True))

    # --- receiving --------------------------------------------------------------------------------------

    def _on_puback(self, taken: Sequence[Sent]) -> None:
        self._tally.pubacked += sum(sent.readings for sent in taken)
        self._attempts = 0
        self._lists_in_flight -= sum(sent.is_list for sent in taken)
        if self.outbox.waiting():
            self._pump_soon(0)

    def _on_message(self, message: Message) -> None:
        if message.topic == commands_topic(self.device_id):
            self._on_command(message.payload)
            return
        try:
            receipt = decode_receipt(message.payload)
        except PayloadRejected:
            return
        if receipt.boot in self._boots:
            self._tally.receipted += self.outbox.settle(receipt.ranges)
            self._tally.settled.set()

    # --- obeying ----------------------------------------------------------------------------------------

    def _on_command(self, payload: bytes) -> None:
        if self._faults.loses_command():
            return
        version, after_s = self.obedience.config_version, self._faults.answer_after_s
        answer = self.obedience.obey(payload)
        if answer is not None and not self._faults.loses_answer():
            asyncio.get_running_loop().call_later(after_s, self._report, answer)
        if self.obedience.config_version != version:
            self._report_presence(online=True)

    def _act(self, command: WireCommand) -> None:
        if command.type == "restart":
            asyncio.get_running_loop().call_later(self._timing.restart_after_s, self._restart)
        self._on_act(command)

    def _restart(self) -> None:
        """A new boot; `seq` goes on, so that what has no receipt keeps its name in the outbox."""
        self.boot = f"{self._random.getrandbits(32):08x}"
        self._boots.add(self.boot)
        self.break_connection()


def _login(device_id: str, token: str, endpoint: Endpoint, timing: LinkTiming) -> Login:
    return Login(
        endpoint.host,
        endpoint.port,
        client_id=device_id,
        username=device_id,
        password=token,
        keep_alive_s=timing.keep_alive_s,
        will=Will(status_topic(device_id), encode_status(PresenceReport(False))),
        tls=endpoint.tls,
    )
