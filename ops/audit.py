"""The whole stream of one thing, from the event store itself: what `wattaway audit` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from rich.table import Table

from domain.errors import InvalidInput, Missing
from domain.lifecycle.devices import Device, device_aggregate_id
from domain.lifecycle.entity import SECRET_FIELDS, own_fields
from domain.lifecycle.firmware import firmware_aggregate_id
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.personal import Personal, tenant_subject, user_subject

KINDS = ("device", "user", "tenant", "command", "firmware")
_NAMED = {"device": device_aggregate_id, "firmware": firmware_aggregate_id}
"""What has a name of its own: here the aggregate's id follows from it."""


class Line(NamedTuple):
    """One event of the stream."""

    at: str
    version: int
    event: str
    actor: str
    correlation_id: str
    origin: str | None
    said: dict[str, Any]
    before: dict[str, Any]


def stream_of(thing: str, lifecycle: Lifecycle, personal: Personal) -> list[Line]:
    """Every event of `device:ID`, `user:ID`, `tenant:ID`, `command:ID` or
    `firmware:BOARD`, oldest first; what was forgotten is None.

    Raises:
        InvalidInput: it names no thing.
        Missing: there is none.
    """
    kind, colon, name = thing.partition(":")
    if not colon or kind not in KINDS:
        raise InvalidInput("thing", f"{thing[:80]!r} is not one of {', '.join(f'{one}:ID' for one in KINDS)}")
    try:
        aggregate_id = _NAMED.get(kind, UUID)(name)
    except ValueError:
        raise InvalidInput("thing", f"{name[:80]!r} is not the id of a {kind}") from None
    events: list[Any] = list(lifecycle.events.get(aggregate_id))
    if not events or not type(events[0]).__qualname__.lower().startswith(kind):
        raise Missing(f"unknown-{kind}", f"no such {kind}: {name[:80]}")
    subject = _subject(kind, name, events)
    return [_line(event, kind, subject, personal) for event in events]


def as_json(lines: Sequence[Line]) -> str:
    """The stream for programs."""
    return msgspec.json.encode([line._asdict() for line in lines]).decode()


def as_table(thing: str, lines: Sequence[Line]) -> Table:
    """The stream for people."""
    table = Table(title=thing, title_justify="left")
    for name in ("at", "v", "event", "by", "from", "what", "before"):
        table.add_column(name, overflow="fold")
    for line in lines:
        what, before = (_words(members) for members in (line.said, line.before))
        table.add_row(line.at, str(line.version), line.event, line.actor, line.origin or "", what, before)
    return table


def _subject(kind: str, name: str, events: Sequence[Any]) -> str | None:
    """Whose key the texts in this stream are sealed with."""
    first = events[0]
    if isinstance(first, Device.Registered):
        return tenant_subject(first.tenant_id)
    return {"user": user_subject(name), "tenant": tenant_subject(name)}.get(kind)


def _line(event: Any, kind: str, subject: str | None, personal: Personal) -> Line:
    said: dict[str, Any] = msgspec.to_builtins(event)
    own = {name: said[name] for name in own_fields(event)}
    before = {name: value for name, value in event.before.items() if name not in SECRET_FIELDS}
    return Line(
        at=event.timestamp.isoformat(timespec="milliseconds"),
        version=event.originator_version,
        event=type(event).TOPIC.removeprefix("wattaway."),
        actor=event.actor,
        correlation_id=event.correlation_id,
        origin=personal.open_origin(event.actor, event.origin),
        said=personal.open_members(kind, subject, own),
        before=personal.open_members(kind, subject, before),
    )


def _words(members: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in members.items() if value is not None)
