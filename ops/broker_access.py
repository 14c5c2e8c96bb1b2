"""Which devices an MQTT broker lets in: a fold of the event store's log, held by the role that tells the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from eventsourcing.persistence import ApplicationRecorder, Notification

from bridges.event_follower import EventFollower
from bridges.event_hints import hint_channel, listen_for_hints
from domain.errors import DependencyUnavailable
from domain.lifecycle.access import Access, KnownDevice
from domain.lifecycle.devices import Device
from domain.lifecycle.mapping import decode_lifecycle_event
from domain.lifecycle.tenants import Tenant

_TOPICS = (
    Tenant.Founded.TOPIC,
    Device.Registered.TOPIC,
    Device.TokenRotated.TOPIC,
    Device.Decommissioned.TOPIC,
)
_REFRESHED_WITHIN_S = 1.0
_FIRST_WITHIN_S = 30.0

log = structlog.get_logger()


class BrokerAccess:
    """The devices of the log so far."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        self._access = Access()
        self._listeners: list[Callable[[set[str]], None]] = []
        self.follower = EventFollower(recorder, self._fold, topics=_TOPICS)
        self._refreshing = asyncio.Lock()
        self._refresh_began_s = 0.0

    def tell(self, listener: Callable[[set[str]], None]) -> None:
        """From now on call `listener`, in the event loop, with the ids whose token counts anew or no more."""
        self._listeners.append(listener)

    def find(self, device_id: str) -> KnownDevice | None:
        """The device if it may connect."""
        device = self._access.devices.get(device_id)
        return device if device is not None and device.commissioned else None

    def broker_hashes(self) -> dict[str, str]:
        """By device id: all that may connect."""
        return {one.device_id: one.broker_hash for one in self._access.devices.values() if one.commissioned}

    async def begin(self) -> None:
        """Return once everything in the log until now is folded.

        Raises:
            DependencyUnavailable: the event store does not answer.
        """
        await self.follower.catch_up(within_s=_FIRST_WITHIN_S)

    async def follow(self, redis_url: str, redis_prefix: str) -> None:
        """Keep up with the log until cancelled; hints make it quicker."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follower.run())
            tasks.create_task(
                listen_for_hints(redis_url, hint_channel(redis_prefix), self.follower.hint, topics=self.follower.topics)
            )

    async def refresh(self) -> None:
        """Read what the log has now, or give up after a second; whoever asks at the same time waits for the same."""
        asked_s = asyncio.get_running_loop().time()
        async with self._refreshing:
            if self._refresh_began_s > asked_s:
                return
            self._refresh_began_s = asyncio.get_running_loop().time()
            try:
                await self.follower.catch_up(within_s=_REFRESHED_WITHIN_S)
            except DependencyUnavailable as error:
                log.warning("refused by what was known before", error=str(error)[:200])

    def _fold(self, notifications: Sequence[Notification]) -> None:
        changed = set()
        for notification in notifications:
            event = decode_lifecycle_event(notification.topic, notification.state)
            self._access.apply(event)
            if isinstance(event, Device.Event):
                changed.add(event.device_id)
        for listener in self._listeners if changed else ():
            listener(changed)
