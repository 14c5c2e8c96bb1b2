"""Whether whoever asked for a command may still do that: a fold of the event store's log.

A command may wait for its socket for a day. It ends with the right to ask for it: when the socket is taken out of
use, a share or a membership ends, somebody is forgotten, or an API token is revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from eventsourcing.persistence import ApplicationRecorder, Notification

from bridges.event_follower import EventFollower
from bridges.open_commands import OpenCommand
from domain.lifecycle.access import Access
from domain.lifecycle.cause import user_behind
from domain.lifecycle.devices import Device
from domain.lifecycle.mapping import LIFECYCLE_EVENTS, decode_lifecycle_event
from domain.lifecycle.policy import Principal, action_of, grants_on_device, permits
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.users import User

OUT_OF_USE = "the socket was taken out of use"
NO_RIGHT = "whoever asked for it may not do that any more"
_FOLLOWED = tuple(
    topic
    for topic, event in LIFECYCLE_EVENTS.items()
    if issubclass(event, User.Event | Tenant.Event | Device.Event) and event not in (User.SignedIn, User.SignedOut)
)
_ENDING = (
    User.Forgotten,
    User.ApiTokenRevoked,
    Tenant.MemberRemoved,
    Tenant.MemberRoleChanged,
    Tenant.Dissolved,
    Device.Shared,
    Device.Unshared,
    Device.Decommissioned,
)
_FIRST_WITHIN_S = 30.0


class CommandRights:
    """What people may do, a fifth of a second ago at the latest.

    Args:
        on_ended: told whenever a right may have ended.
    """

    def __init__(self, recorder: ApplicationRecorder, on_ended: Callable[[], None]) -> None:
        self._access, self._on_ended = Access(), on_ended
        self._out_of_use_at: dict[str, datetime] = {}
        self._follower = EventFollower(recorder, self._fold, topics=_FOLLOWED)

    async def begin(self) -> None:
        """Return once everything in the log until now is folded.

        Raises:
            DependencyUnavailable: the event store does not answer.
        """
        await self._follower.catch_up(within_s=_FIRST_WITHIN_S)

    async def run(self) -> None:
        """Follow the log until cancelled."""
        await self._follower.run()

    def objection(self, command: OpenCommand) -> str | None:
        """Why this command must not be sent, as far as the log was followed; None: it may.

        Of a socket that nobody has registered there is none: nobody can ask for anything of it.
        """
        device = self._access.devices.get(command.device_id)
        if device is None:
            return None
        ended_at = self._out_of_use_at.get(command.device_id)
        if not device.commissioned or (ended_at is not None and command.requested_at <= ended_at):
            return OUT_OF_USE
        return None if self._may(command) else NO_RIGHT

    async def confirmed_objection(self, command: OpenCommand) -> str | None:
        """The same as of now: Kafka may have brought a request before the log was followed to what allows it.

        Raises:
            DependencyUnavailable: there is an objection, and the event store cannot be asked.
        """
        if self.objection(command) is None:
            return None
        await self._follower.catch_up()
        return self.objection(command)

    def _may(self, command: OpenCommand) -> bool:
        user_id = user_behind(command.actor)
        if user_id is None:
            return True
        user = self._access.users.get(user_id)
        token_id = command.actor.partition("/")[2]
        if user is None or (token_id and token_id not in user.tokens):
            return False
        grants = grants_on_device(self._access, Principal(command.actor, user_id), command.device_id)
        return permits(Principal(command.actor, user_id), action_of(command.type), grants)

    def _fold(self, events: Sequence[Notification]) -> None:
        ended = False
        for notification in events:
            event = decode_lifecycle_event(notification.topic, notification.state)
            self._access.apply(event)
            if isinstance(event, Device.Decommissioned):
                self._out_of_use_at[event.device_id] = event.timestamp
            ended = ended or isinstance(event, _ENDING)
        if ended:
            self._on_ended()
