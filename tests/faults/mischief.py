"""Sockets and producers that do wrong: every reading three times, five payloads in a hundred that cannot be right."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from domain.events import DEAD_LETTERS_TOPIC, LIFECYCLE_TOPIC, READINGS_TOPIC, REPORTS_TOPIC
from domain.wire import data_topic
from ops.simulator.mqtt_client import connect
from ops.simulator.mqtt_login import Login
from ops.simulator.mqtt_packets import encode_text
from tests.faults.fleet import ReadingId
from tests.servers import World


class Sent(NamedTuple):
    """What a wrongdoer sent: what is right about it, and what must end as a dead letter, byte by byte."""

    good: set[ReadingId]
    poison: set[bytes]


def send_each_reading_three_times(world: World, readings: int) -> Sent:
    """One by one thrice in a row, all again as one list, and that list thrice."""
    device_id, boot, now_ms = world.device_id("thrice"), secrets.token_hex(4), _now_ms()
    singles = [_reading(boot, seq, now_ms - readings + seq) for seq in range(readings)]
    whole = b"[" + b",".join(singles) + b"]"
    payloads = [single for single in singles for _ in range(3)] + [whole] * 3
    asyncio.run(_publish(world, device_id, payloads))
    return Sent({ReadingId(device_id, boot, seq) for seq in range(readings)}, set())


def send_five_percent_poison(world: World, messages: int) -> Sent:
    """Good readings with a poisoned payload after every nineteen, and lists with one poisoned reading in them."""
    device_id, boot, now_ms = world.device_id("poisoner"), secrets.token_hex(4), _now_ms()
    kinds = list(_poison(boot, now_ms))
    payloads: list[bytes] = []
    poison: set[bytes] = set()
    for number in range(messages):
        good = _reading(boot, number, now_ms - messages + number)
        payloads.append(good)
        if number % 19 == 18:
            bad = kinds[number // 19 % len(kinds)].replace(b"SEQ", str(1_000_000 + number).encode())
            payloads += [bad, b"[" + good + b"," + _listed(number) + b"]"]
            poison |= {bad, _listed(number)}
    asyncio.run(_publish(world, device_id, payloads))
    return Sent({ReadingId(device_id, boot, seq) for seq in range(messages)}, poison)


def _listed(number: int) -> bytes:
    return b'{"boot":"00000000","seq":%d,"power_mw":"much"}' % number


def _poison(boot: str, now_ms: int) -> Iterator[bytes]:
    """One of each way to be wrong; SEQ is filled in, so that each payload is one of its kind."""
    right: dict[str, Any] = {"boot": boot, "seq": "SEQ", "at": now_ms, "power_mw": 1000}
    for wrong in (
        {"power_mw": 8_000_001},
        {"power_mw": -1},
        {"power_mw": 1.5},
        {"current_ma": 20_001},
        {"at": now_ms + 600_000},
        {"at": 1},
        {"boot": "nothex!!"},
        {"surprise": None, "power_mw": "1"},
    ):
        yield json.dumps(right | wrong).replace('"SEQ"', "SEQ").encode()
    yield b'{"boot":"%b","seq":SEQ,"at":%d,"power_mw":NaN}' % (boot.encode(), now_ms)
    yield b'{"boot":"%b","seq":SEQ,"at":%d,"power_mw":1,"power_mw":2}' % (boot.encode(), now_ms)
    yield b'{"boot":"%b","seq":SEQ,"power_mw":1}' % boot.encode()
    yield b"\xff\xfe SEQ"
    yield b'{"boot": SEQ'
    yield b"SEQ"
    yield b"[" * 2000 + b"SEQ"


async def _publish(world: World, device_id: str, payloads: Sequence[bytes]) -> None:
    """Return once the broker has taken all of them."""
    settings, token = world.settings, world.servers.admit([device_id])[device_id]
    login = Login(settings.mqtt_host, settings.mqtt_port, client_id=device_id, username=device_id, password=token)
    client = await connect(login)
    topic = encode_text(data_topic(device_id))
    async with asyncio.timeout(60):
        for payload in payloads:
            client.publish(topic, payload)
            await client.writable()
        while client.in_flight:
            await asyncio.sleep(0.02)
    await client.disconnect()


def append_poison_records(world: World, count: int) -> set[bytes]:
    """Put records that are no events of ours into every topic, as a foreign producer might; what their values are."""
    values = {topic: [b"%b garbage %d" % (topic.encode(), number) for number in range(count)] for topic in _TOPICS}
    asyncio.run(_append(world, values))
    return {value for some in values.values() for value in some}


_TOPICS = (READINGS_TOPIC, REPORTS_TOPIC, DEAD_LETTERS_TOPIC, LIFECYCLE_TOPIC)
_FOREIGN_HEADERS: list[list[tuple[str, bytes | None]]] = [
    [],
    [("ce_type", None), ("ce_id", None)],
    [("ce_type", b"wattaway.reading-recorded.v1")],
    [("ce_type", b"somebody.elses.v1"), ("ce_id", b"x")],
    [("ce_type", b"wattaway.dead-lettered.v1")],
]


async def _append(world: World, values: Mapping[str, Iterable[bytes]]) -> None:
    settings = world.settings
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, acks="all") as producer:
        for topic, some in values.items():
            for number, value in enumerate(some):
                key = b"device-%d" % number if number % 3 else None
                headers = _FOREIGN_HEADERS[number % len(_FOREIGN_HEADERS)]
                await producer.send(settings.kafka_topic_prefix + topic, value, key=key, headers=headers)


def _reading(boot: str, seq: int, at_ms: int) -> bytes:
    return b'{"boot":"%b","seq":%d,"at":%d,"power_mw":%d,"energy_mwh":%d}' % (
        boot.encode(), seq, at_ms, 1000 + seq, 50 * seq,
    )  # fmt: skip


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
