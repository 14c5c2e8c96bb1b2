"""Lifecycle events to and from the event store: their stored state is plain JSON, the value of their Kafka record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.domain import CanSnapshotAggregate, DomainEventProtocol
from eventsourcing.persistence import Mapper, MapperDeserialisationError, StoredEvent
from eventsourcing.utils import get_topic

from domain.errors import EventRejected
from domain.lifecycle.commands import Command
from domain.lifecycle.denials import Denial
from domain.lifecycle.devices import Device
from domain.lifecycle.entity import Entity, LifecycleEvent
from domain.lifecycle.firmware import FirmwareReleases
from domain.lifecycle.site import Site
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.users import User

AGGREGATES: tuple[type[Entity], ...] = (User, Tenant, Site, Device, Command, FirmwareReleases, Denial)


def _events_of(aggregate: type[Entity]) -> dict[str, type[Any]]:
    events = [one for one in vars(aggregate).values() if isinstance(one, type) and issubclass(one, LifecycleEvent)]
    return {vars(event)["TOPIC"]: event for event in events if "TOPIC" in vars(event)}


LIFECYCLE_EVENTS: Mapping[str, type[Any]] = {
    topic: event for aggregate in AGGREGATES for topic, event in _events_of(aggregate).items()
}
"""By topic, which is also the `ce_type`."""

_decoders = {topic: msgspec.json.Decoder(event).decode for topic, event in LIFECYCLE_EVENTS.items()}
_encode = msgspec.json.Encoder().encode


class PlainJsonMapper(Mapper[UUID]):
    """Events as plain JSON; snapshots, which nobody else reads, as the library writes them."""

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        if isinstance(domain_event, CanSnapshotAggregate):
            return super().to_stored_event(domain_event)
        event_id, version = domain_event.originator_id, domain_event.originator_version
        return StoredEvent(event_id, version, get_topic(type(domain_event)), _encode(domain_event))

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        decode = _decoders.get(stored_event.topic)
        if decode is None:
            return super().to_domain_event(stored_event)
        try:
            event: DomainEventProtocol[UUID] = decode(stored_event.state)
        except msgspec.MsgspecError as error:
            where = f"{stored_event.originator_id} version {stored_event.originator_version}"
            raise MapperDeserialisationError(f"{stored_event.topic} of {where}: {error}") from error
        return event


def decode_lifecycle_event(topic: str, value: bytes) -> Any:
    """The event in a record of the lifecycle topic.

    Raises:
        EventRejected: an unknown type, or a value that does not fit it.
    """
    decode = _decoders.get(topic)
    if decode is None:
        raise EventRejected("event_type", f"{topic[:80]!r} is not a lifecycle event of ours")
    try:
        return decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EventRejected("schema", str(error)) from error
