"""Dead letters that Kafka does not take keep nobody from switching."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from bridges.command_rights import CommandRights
from bridges.dispatcher import WORKERS, Dispatcher
from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.patient_lifecycle import PatientLifecycle
from domain.lifecycle.commands import Command, Order
from tests.unit.lifecycle_parts import NOW, Parts, cause
from tests.waiting import until

PLACE = ("lifecycle", 0)


class StandingClock:
    def now_ms(self) -> int:
        return int(NOW.timestamp() * 1000) + 1


class Link:
    """Everybody is there."""

    answers = True
    presence = ()

    def __init__(self) -> None:
        self.sent: list[str] = []

    def reaches(self, _device_id: str) -> bool:
        return True

    def has_said_it_is_there(self, _device_id: str) -> bool:
        return True

    def send(self, device_id: str, _payload: bytes) -> bool:
        self.sent.append(device_id)
        return True


class NoDrift:
    def look(self, device_id: str) -> None: ...

    def command_ended(self, device_id: str) -> None: ...


class KafkaIsAway:
    async def bury(self, _event: Any, _value: bytes) -> None:
        await asyncio.Event().wait()


def request(parts: Parts, device_id: str) -> UUID:
    order, expires_at = Order("switch", relay=True), NOW + timedelta(seconds=30)
    command = Command.request(device_id, order, cause(), why="user", expires_at=expires_at)
    parts.lifecycle.store(command)
    return command.id


async def test_commands_are_sent_while_more_dead_letters_wait_than_there_are_workers() -> None:
    parts, link, metrics = Parts(), Link(), DispatcherMetrics()
    deciding = PatientLifecycle(parts.lifecycle, threads=2, on_retry=lambda: None)
    dispatcher = Dispatcher(deciding, KafkaIsAway(), metrics, StandingClock())  # type: ignore[arg-type]
    dispatcher.connect(link, NoDrift(), CommandRights(parts.lifecycle.log_recorder, dispatcher.rights_ended))  # type: ignore[arg-type]
    for number in range(2 * WORKERS):
        failed = request(parts, f"silent-{number}")
        parts.lifecycle.change(Command, failed, lambda command: command.fail(cause(), reason="silence"))
    request(parts, "kettle")
    running = asyncio.ensure_future(dispatcher.run())
    try:
        for one in parts.lifecycle.recorder.select_notifications(1, 1000):
            if one.topic == Command.Failed.TOPIC or one.id == 4 * WORKERS + 1:
                dispatcher.take(PLACE, one.id, one.state, [("ce_type", one.topic.encode())])
        await until(lambda: link.sent == ["kettle"], within_s=5)
    finally:
        running.cancel()
        await asyncio.wait({running})
        deciding.close()
