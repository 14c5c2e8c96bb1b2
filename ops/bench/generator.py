"""The load generator, a process of its own: `python -m ops.bench.generator`, its plan on standard input.

As cheap as it gets, because it shares the machine with what it measures: payloads from templates, one connection per
device as the brokers' ACLs demand, many messages per write. It never sends more than `window` readings beyond what
the measuring process has reported as visible (a number per line on standard input), so what it reaches is sustained.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import psutil
import uvloop

from domain.wire import PresenceReport, data_topic, decode_receipt, encode_status, receipts_topic, status_topic
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login
from ops.simulator.mqtt_packets import Message, Will, encode_text

_TICK_S = 0.005
_READINGS_PER_TURN = 64
_CONNECTING = 60
_PUBACKS_WITHIN_S = 20.0
_READING = (
    b'{"boot":"%b","seq":%d,"at":%d,"voltage_mv":230100,"current_ma":431,"power_mw":%d,"energy_mwh":%d,'
    b'"relay":true,"temperature_mc":41200,"rssi_dbm":-61}'
)


class LoadPlan(msgspec.Struct, frozen=True):
    """What to send.

    Args:
        tokens: MQTT password by device id; one connection each.
        rate_per_s: readings per second in all; 0: as many as the window lets through.
        per_message: readings in a payload; more than one is a backlog list.
        step_ms: from one reading of a list to the next, into the past.
        readings: stop after so many (0: no limit).
        burst: messages a device sends one after the other before it is the next one's turn.
    """

    host: str
    port: int
    boot: str
    tokens: dict[str, str]
    seconds: float
    rate_per_s: float = 0
    per_message: int = 1
    window: int = 20_000
    step_ms: int = 1000
    readings: int = 0
    first_seq: int = 0
    burst: int = 1


class LoadReport(msgspec.Struct, frozen=True):
    """What was sent, in readings; instants are the machine's monotonic clock."""

    sent: int
    pubacked: int
    receipted: int
    first_sent_s: float
    last_sent_s: float
    cpu_s: float
    ticks: list[tuple[int, int]] = []
    """At a given rate: when (ms since 1970) the messages sent came to how many."""


class Generator:
    """The devices and their counters."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self._clients: list[MqttClient] = []
        self._topics = [encode_text(data_topic(device_id)) for device_id in plan.tokens]
        self._seqs = [plan.first_seq] * len(plan.tokens)
        self._boot = plan.boot.encode()
        self._turn = 0
        self._ticks: list[tuple[int, int]] = []
        self._freed = asyncio.Event()
        self.visible = self.sent = self.pubacked = self.receipted = 0

    async def connect(self) -> None:
        """Open every connection, not too many at once."""
        gate = asyncio.Semaphore(_CONNECTING)

        async def one(device_id: str, token: str) -> MqttClient:
            will = Will(status_topic(device_id), encode_status(PresenceReport(False)))
            login = Login(self.plan.host, self.plan.port, device_id, device_id, token, will=will)
            async with gate:
                client = await connect(login, on_message=self._on_receipt, on_puback=self._on_puback, timeout_s=30)
                await client.subscribe([(receipts_topic(device_id), 0)])
            online = encode_status(PresenceReport(True, self.plan.boot))
            client.publish(encode_text(status_topic(device_id)), online, 0, retain=True)
            return client

        self._clients = list(await asyncio.gather(*(one(*item) for item in self.plan.tokens.items())))

    def hear_visible(self, count: int) -> None:
        """So many of our readings can be seen by now."""
        self.visible = count
        self._freed.set()

    async def send(self) -> LoadReport:
        """Send until the time is over; what was sent."""
        before, started_s = _cpu_s(), time.monotonic()
        sending = self._send_at_rate if self.plan.rate_per_s else self._send_at_will
        await sending(started_s)
        stopped_s = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PUBACKS_WITHIN_S):
                while self.pubacked < self.sent:
                    self._freed.clear()
                    await self._freed.wait()
        used_s = _cpu_s() - before
        return LoadReport(self.sent, self.pubacked, self.receipted, started_s, stopped_s, used_s, self._ticks)

    async def close(self) -> None:
        for client in self._clients:
            client.abort()

    async def _send_at_will(self, started_s: float) -> None:
        plan = self.plan
        chunk = max(1, _READINGS_PER_TURN // plan.per_message)
        while time.monotonic() < started_s + plan.seconds and not self._enough():
            if self.sent - self.visible + chunk * plan.per_message > plan.window:
                self._freed.clear()
                await _wait_a_little(self._freed)
                continue
            self._send_messages(chunk)
            await asyncio.sleep(0)

    async def _send_at_rate(self, started_s: float) -> None:
        plan = self.plan
        while (elapsed_s := time.monotonic() - started_s) < plan.seconds and not self._enough():
            due = int(elapsed_s * plan.rate_per_s) // plan.per_message
            self._send_messages(due - self.sent // plan.per_message)
            await asyncio.sleep(_TICK_S)

    def _enough(self) -> bool:
        return bool(self.plan.readings) and self.sent >= self.plan.readings

    def _send_messages(self, count: int) -> None:
        at_ms = time.time_ns() // 1_000_000
        for _ in range(count):
            device = self._turn // self.plan.burst % len(self._clients)
            self._turn += 1
            payload = self.payload(device, at_ms)
            self._clients[device].publish(self._topics[device], payload, self.plan.per_message)
        self.sent += count * self.plan.per_message
        if self.plan.rate_per_s and count:
            self._ticks.append((at_ms, self._turn))

    def payload(self, device: int, at_ms: int) -> bytes:
        """The next payload of a device, stamped `at_ms`."""
        plan, seq = self.plan, self._seqs[device]
        count = plan.per_message
        self._seqs[device] = seq + count
        if count == 1:
            return _READING % (self._boot, seq, at_ms, 90_000 + seq % 997, 1_000_000 + seq)
        first_ms = at_ms - plan.step_ms * (count - 1)
        if plan.readings:  # a history: every list goes on where the device's last one ended
            first_ms = at_ms - plan.step_ms * (plan.readings // len(plan.tokens) - (seq - plan.first_seq))
        readings = (
            _READING % (self._boot, seq + n, first_ms + n * plan.step_ms, 90_000 + (seq + n) % 997, 1_000_000 + seq + n)
            for n in range(count)
        )
        return b"[" + b",".join(readings) + b"]"

    def _on_puback(self, counts: Sequence[Any]) -> None:
        self.pubacked += sum(counts)
        self._freed.set()

    def _on_receipt(self, message: Message) -> None:
        receipt = decode_receipt(message.payload)
        if receipt.boot == self.plan.boot:
            self.receipted += sum(last - first + 1 for first, last in receipt.ranges)


async def _wait_a_little(event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), 0.5)


def _cpu_s() -> float:
    used = psutil.Process().cpu_times()
    return float(used.user + used.system)


async def _main() -> None:
    stdin = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    generator = Generator(msgspec.json.decode(await stdin.readline(), type=LoadPlan))
    await generator.connect()
    _say(b"connected")
    await stdin.readline()  # the word to start
    listening = asyncio.create_task(_listen(stdin, generator))
    report = await generator.send()
    _say(msgspec.json.encode(report))
    await listening  # until standard input is closed: devices stay online meanwhile
    await generator.close()


async def _listen(stdin: asyncio.StreamReader, generator: Generator) -> None:
    while line := await stdin.readline():
        generator.hear_visible(int(line))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_main())
