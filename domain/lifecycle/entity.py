"""The base of our aggregates: their events say who caused them, and what they replaced."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any, Self
from uuid import UUID, uuid4, uuid5

from eventsourcing.domain import AggregateCreated, AggregateEvent, BaseAggregate, Snapshot

from domain.lifecycle.cause import Cause

_NAMESPACE = UUID("6d1f0f1e-58b5-4f6a-9d3d-5f2f6f0d7c11")
SECRET_FIELDS = frozenset({"password_sealed", "token_sha256", "broker_hash"})
"""Nobody needs these to understand a change, and an audit record must not show them."""


def id_of(kind: str, name: str) -> UUID:
    """The aggregate id of what has a name of its own: two of that name cannot be created."""
    return uuid5(_NAMESPACE, f"{kind}/{name}")


class LifecycleEvent(AggregateEvent):
    """What all events have in common; `before` holds the replaced values, secrets left out."""

    originator_id: UUID
    actor: str
    correlation_id: str
    origin: str | None
    before: dict[str, Any]


class FirstEvent(LifecycleEvent, AggregateCreated):
    """The first event of an aggregate."""


def own_fields(event: LifecycleEvent) -> tuple[str, ...]:
    """What an event says beyond what all events say, secrets left out."""
    return _own_fields(type(event))


@cache
def _own_fields(event_class: type[LifecycleEvent]) -> tuple[str, ...]:
    said_by_all = {field.name for field in fields(FirstEvent)}
    return tuple(one.name for one in fields(event_class) if one.name not in said_by_all | SECRET_FIELDS)


class Entity(BaseAggregate[UUID]):
    """An aggregate of ours.

    An event's `TOPIC` is stored with it and is the `ce_type` of its Kafka record; its fields as JSON are that record's
    value. So neither may change once there is history: a breaking change is a new event with another version.
    """

    Snapshot = Snapshot

    @staticmethod
    def create_id(*_: Any, **__: Any) -> UUID:
        """A new aggregate's id, unless it has one of its own."""
        return uuid4()

    @classmethod
    def begin(cls, event_class: Any, cause: Cause, aggregate_id: UUID | None = None, **fields: Any) -> Self:
        """A new aggregate from its first event."""
        return cls._create(event_class, id=aggregate_id, before={}, **_who(cause), **fields)

    def decide(self, event_class: Any, cause: Cause, *, before: dict[str, Any] | None = None, **fields: Any) -> None:
        """Trigger an event; `before` is what it replaces, by default the attributes of its fields' names."""
        if before is None:
            before = {name: getattr(self, name) for name in fields if name not in SECRET_FIELDS and hasattr(self, name)}
            before = {name: value for name, value in before.items() if value != fields[name]}
        self.trigger_event(event_class, before=before, **_who(cause), **fields)


def _who(cause: Cause) -> dict[str, Any]:
    return {
        "timestamp": cause.at,
        "actor": cause.actor,
        "correlation_id": cause.correlation_id,
        "origin": cause.origin,
    }
