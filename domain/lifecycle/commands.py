"""A command to a socket: requested, sent, and then exactly one ending, whatever is lost, doubled or late."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
from msgspec import Meta

from domain.errors import RuleBroken
from domain.lifecycle.cause import Cause
from domain.lifecycle.devices import DeviceConfiguration
from domain.lifecycle.entity import Entity, FirstEvent, LifecycleEvent, id_of
from domain.wire import MAX_CURRENT_MA, MAX_POWER_MW, MAX_VOLTAGE_MV

CommandType = Literal["switch", "toggle", "restart", "identify", "configure", "calibrate"]
Why = Literal["user", "schedule", "automation", "protection", "configuration"]
State = Literal["requested", "dispatched", "acknowledged", "rejected", "expired", "failed"]

ANSWER_WITHIN_S = (2.0, 4.0, 8.0)
"""How long each attempt is waited for; after the last the command has failed."""
MOST_ATTEMPTS = len(ANSWER_WITHIN_S)
COMES_BACK_WITHIN_S = 60.0
"""How long a socket may take to connect again: our firmware's longest pause between two tries."""
TERMINAL: frozenset[State] = frozenset({"acknowledged", "rejected", "expired", "failed"})


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a trusted meter shows of the load that runs now: at least one value, none too small to tell a gain by."""

    power_mw: Annotated[int, Meta(ge=10_000, le=MAX_POWER_MW)] | None = None
    current_ma: Annotated[int, Meta(ge=100, le=MAX_CURRENT_MA)] | None = None
    voltage_mv: Annotated[int, Meta(ge=80_000, le=MAX_VOLTAGE_MV)] | None = None

    def __post_init__(self) -> None:
        if self.power_mw is None and self.current_ma is None and self.voltage_mv is None:
            raise ValueError("a reference needs at least one of `power_mw`, `current_ma` and `voltage_mv`")


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the socket shall do."""

    type: CommandType
    relay: bool | None = None
    """For `switch`: true = on."""
    config: DeviceConfiguration | None = None
    config_version: int | None = None
    reference: Reference | None = None
    """For `calibrate`."""


def supersedes(later: CommandType, earlier: CommandType) -> bool:
    """Whether an earlier command, done after a later one, would leave the relay in another position.

    Two toggles would not: their order makes no difference.
    """
    return {later, earlier} in ({"switch"}, {"switch", "toggle"})


def command_id_of(device_id: str, actor: str, idempotency_key: str) -> UUID:
    """The id of the command that this actor asks for under this key: asking again finds the first."""
    return id_of("command", f"{device_id}/{actor}/{idempotency_key}")


class Command(Entity):
    """One command; `terminal` once it has ended."""

    TOPIC = "wattaway.command"

    class Event(LifecycleEvent):
        """Of a command."""

        device_id: str

    class Requested(Event, FirstEvent):
        TOPIC = "wattaway.command-requested.v1"
        order: Order
        why: Why
        expires_at: datetime

    class Dispatched(Event):
        TOPIC = "wattaway.command-dispatched.v1"
        attempt: int

        def apply(self, aggregate: Any) -> None:
            aggregate.state, aggregate.attempts, aggregate.dispatched_at = "dispatched", self.attempt, self.timestamp

    class Acknowledged(Event):
        TOPIC = "wattaway.command-acknowledged.v1"
        relay: bool | None
        reported_at: datetime | None

        def apply(self, aggregate: Any) -> None:
            aggregate.state = "acknowledged"

    class Rejected(Event):
        TOPIC = "wattaway.command-rejected.v1"
        reason: str
        reported_at: datetime | None

        def apply(self, aggregate: Any) -> None:
            aggregate.state = "rejected"

    class Expired(Event):
        TOPIC = "wattaway.command-expired.v1"

        def apply(self, aggregate: Any) -> None:
            aggregate.state = "expired"

    class Failed(Event):
        TOPIC = "wattaway.command-failed.v1"
        reason: str

        def apply(self, aggregate: Any) -> None:
            aggregate.state = "failed"

    class ReportedLate(Event):
        """The socket's answer came after the ending: it changes nothing, but explains what the socket did."""

        TOPIC = "wattaway.command-reported-late.v1"
        result: str
        reason: str | None

        def apply(self, aggregate: Any) -> None:
            aggregate.reported_late = True

    def __init__(self, device_id: str, order: Order, why: Why, expires_at: datetime) -> None:
        self.device_id, self.why = device_id, why
        self.order: dict[str, Any] = msgspec.to_builtins(order)
        self.expires_at = expires_at
        self.state: State = "requested"
        self.attempts = 0
        self.dispatched_at: datetime | None = None
        self.reported_late = False

    @classmethod
    def request(
        cls,
        device_id: str,
        order: Order,
        cause: Cause,
        *,
        why: Why,
        expires_at: datetime,
        command_id: UUID | None = None,
    ) -> Command:
        """A new command.

        Raises:
            RuleBroken: it would have expired by now, or the order is not complete.
        """
        if expires_at <= cause.at:
            raise RuleBroken("already-expired", "a command must be valid for some time")
        if (order.type == "switch") != (order.relay is not None):
            raise RuleBroken("incomplete-order", "`relay` belongs to `switch`, and to no other type")
        if (order.type == "configure") != (order.config is not None and order.config_version is not None):
            raise RuleBroken("incomplete-order", "`config` belongs to `configure`, and to no other type")
        if (order.type == "calibrate") != (order.reference is not None):
            raise RuleBroken("incomplete-order", "`reference` belongs to `calibrate`, and to no other type")
        fields = {"device_id": device_id, "order": order, "why": why, "expires_at": expires_at}
        return cls.begin(cls.Requested, cause, command_id or uuid4(), **fields)

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    def due_at(self, *, certain: bool = True) -> datetime:
        """When something is to be decided if no answer comes: sent (again), failed or expired.

        Args:
            certain: as `advance` has it.
        """
        if self.dispatched_at is None:
            return self.created_on
        due_at = self.dispatched_at + timedelta(seconds=ANSWER_WITHIN_S[self.attempts - 1])
        if self.attempts == MOST_ATTEMPTS - 1 and not certain:
            latest = self.expires_at - timedelta(seconds=ANSWER_WITHIN_S[-1])
            due_at = max(due_at, min(latest, self.dispatched_at + timedelta(seconds=COMES_BACK_WITHIN_S)))
        return min(self.expires_at, due_at)

    def advance(
        self,
        cause: Cause,
        *,
        online: bool,
        certain: bool = True,
        superseded: bool = False,
        heard_until: datetime | None = None,
    ) -> bool:
        """Decide what time demands; True if the command is to be sent now (again).

        Args:
            online: whether the socket is there: to one that is not, nothing is sent and no attempt is counted.
            certain: whether the socket itself has said that it is there since the broker could be asked; what a broker
                kept of it may be older. The last attempt is left until it does, or could have done so.
            superseded: somebody has asked for another position of the relay since. Sent again, this command would
                undo that.
            heard_until: up to when all that the socket has said is known; None: up to now. A command that was sent
                does not end by a silence that nobody listened to.
        """
        if self.terminal:
            return False
        if self._would_end(cause.at, superseded) and not self._stayed_silent(cause.at, heard_until):
            return False
        if cause.at >= self.expires_at:
            self._decide(self.Expired, cause)
            return False
        if cause.at < self.due_at(certain=certain) or not online:
            return False
        if self._would_end(cause.at, superseded):
            why = ", and superseded by a newer command" if superseded else ""
            self._decide(self.Failed, cause, reason=f"no answer to {self.attempts} attempts{why}")
            return False
        self._decide(self.Dispatched, cause, attempt=self.attempts + 1)
        return True

    def _would_end(self, at: datetime, superseded: bool) -> bool:
        """Whether a socket that has not answered gets no further attempt."""
        is_last = self.attempts == MOST_ATTEMPTS or (self.attempts > 0 and superseded)
        return is_last or at >= self.expires_at

    def _stayed_silent(self, at: datetime, heard_until: datetime | None) -> bool:
        """Whether it is certain that the socket has not answered in time."""
        if self.attempts == 0 or heard_until is None:
            return True
        return heard_until >= (self.expires_at if at >= self.expires_at else self.due_at())

    def acknowledge(self, cause: Cause, *, relay: bool | None, reported_at: datetime | None) -> None:
        """The socket did it."""
        if self._is_late("done", None, cause):
            return
        self._decide(self.Acknowledged, cause, relay=relay, reported_at=reported_at)

    def reject(self, cause: Cause, *, reason: str, reported_at: datetime | None) -> None:
        """The socket did not do it and says why."""
        if self._is_late("rejected", reason, cause):
            return
        self._decide(self.Rejected, cause, reason=reason, reported_at=reported_at)

    def fail(self, cause: Cause, *, reason: str) -> None:
        """Give up; nothing happens to a command that has ended."""
        if not self.terminal:
            self._decide(self.Failed, cause, reason=reason)

    def _is_late(self, result: str, reason: str | None, cause: Cause) -> bool:
        """Whether it has ended already. The socket's first word after `expired` or `failed` is noted."""
        if self.state in ("expired", "failed") and not self.reported_late:
            self._decide(self.ReportedLate, cause, result=result, reason=reason)
        return self.terminal

    def _decide(self, event_class: Any, cause: Cause, **fields: Any) -> None:
        self.decide(event_class, cause, device_id=self.device_id, before={}, **fields)
