"""Sockets whose configuration is older than the desired one: they are sent it as soon as they say so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import msgspec
import structlog

from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.open_commands import OpenCommands
from bridges.patient_lifecycle import PatientLifecycle
from bridges.presence_watch import PresenceWatch
from domain.clock import Clock, to_instant
from domain.lifecycle.cause import Cause, system_cause
from domain.lifecycle.commands import Command, Order
from domain.lifecycle.devices import Device, DeviceConfiguration, device_aggregate_id
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.sockets import CONFIGURE_EXPIRES_IN

log = structlog.get_logger()


class ConfigurationDrift:
    """Looks at one socket at a time, so that a fleet that comes back does not hold up commands.

    Args:
        is_ours: whether this dispatcher answers for a device, and knows all of its open commands.
    """

    def __init__(
        self,
        deciding: PatientLifecycle,
        presence: PresenceWatch,
        commands: OpenCommands,
        is_ours: Callable[[str], bool],
        metrics: DispatcherMetrics,
        clock: Clock,
    ) -> None:
        self._deciding, self._presence, self._commands = deciding, presence, commands
        self._is_ours, self._metrics, self._clock = is_ours, metrics, clock
        self._waiting: dict[str, None] = {}
        self._arrived = asyncio.Event()
        self._desired: dict[str, int] = {}
        self._asked_until_ms: dict[str, int] = {}

    def look(self, device_id: str) -> None:
        """A socket has said what it has: see whether that is what is desired."""
        reported = self._presence.config_of(device_id)
        if reported is None or not self._is_ours(device_id) or reported >= self._desired.get(device_id, reported + 1):
            return
        self._waiting[device_id] = None
        self._arrived.set()

    def configured(self, device_id: str, version: int) -> None:
        """Another version is desired now.

        Whoever desires it usually has the socket told, by a command of the same transaction, which is read together
        with this. If not, the socket may have come back a moment before this was read.
        """
        self._desired[device_id] = version
        self.look(device_id)

    def command_ended(self, device_id: str) -> None:
        """A socket's `configure` command has ended, well or not."""
        self._asked_until_ms.pop(device_id, None)

    def forget(self) -> None:
        """Other dispatchers may see to these devices now."""
        self._waiting.clear()
        self._desired.clear()
        self._asked_until_ms.clear()

    async def run(self) -> None:
        """Look at whoever waits, until cancelled."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                device_id = next(iter(self._waiting))
                del self._waiting[device_id]
                try:
                    await self._compare(device_id)
                except Exception as error:
                    log.exception("configuration not compared", device_id=device_id, error=str(error)[:200])
            self._arrived.clear()

    async def _compare(self, device_id: str) -> None:
        reported, now_ms = self._presence.config_of(device_id), self._clock.now_ms()
        if reported is None or not self._is_ours(device_id) or self._is_under_way(device_id, now_ms):
            return
        cause = system_cause("dispatcher", to_instant(now_ms))
        desired, asked = await self._deciding.run(lambda lifecycle: _request(lifecycle, device_id, reported, cause))
        self._desired[device_id] = desired
        if asked:
            self._asked_until_ms[device_id] = now_ms + CONFIGURE_EXPIRES_IN // timedelta(milliseconds=1)
            self._metrics.configurations.inc()
            log.info("configuration requested", device_id=device_id, reported=reported, desired=desired)

    def _is_under_way(self, device_id: str, now_ms: int) -> bool:
        # What was asked for comes back over Kafka a moment later.
        if self._asked_until_ms.get(device_id, 0) > now_ms:
            return True
        return any(command.type == "configure" for command in self._commands.of_device(device_id))


def _request(lifecycle: Lifecycle, device_id: str, reported: int, cause: Cause) -> tuple[int, bool]:
    """The desired version, and whether it was asked for."""
    device = lifecycle.find(Device, device_aggregate_id(device_id))
    if device is None or not device.commissioned or device.config_version <= reported:
        return (0 if device is None else device.config_version), False
    config = msgspec.convert(device.config, DeviceConfiguration)
    order = Order("configure", config=config, config_version=device.config_version)
    expires_at = cause.at + CONFIGURE_EXPIRES_IN
    lifecycle.store(Command.request(device_id, order, cause, why="configuration", expires_at=expires_at))
    return device.config_version, True
