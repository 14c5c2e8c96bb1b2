"""Records of the lifecycle topic → what they decided: pure; whether it is news, only the store can tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from domain.errors import EventRejected
from domain.events import Headers
from domain.lifecycle.commands import Command
from domain.lifecycle.denials import Denial
from domain.lifecycle.devices import Device
from domain.lifecycle.entity import SECRET_FIELDS, own_fields
from domain.lifecycle.firmware import FirmwareReleases
from domain.lifecycle.mapping import decode_lifecycle_event
from domain.lifecycle.site import Site
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.users import User
from projections.lifecycle_changes import BIGGEST, Change, changes_of, id_text, instant_ms, printable

_TEXT_LENGTH = 500
_encode = msgspec.json.Encoder().encode

Key = tuple[str, ...]
Rows = dict[Key, dict[str, Any]]
"""Rows of one table by their key; what a row does not name is NULL."""


class Decided(NamedTuple):
    """One event, ready to be written."""

    originator_id: str
    version: int
    audit_row: tuple[Any, ...]
    """Of `audit_log`."""
    changes: list[Change]
    failure: tuple[Any, ...] | None = None
    """Of `dead_letters`, where the event is the failure of a command."""


class Subject(NamedTuple):
    """Which thing an event is about."""

    kind: str
    id: str
    device_id: str | None = None
    tenant_id: str | None = None


def decode_lifecycle_record(value: bytes | None, headers: Headers) -> tuple[str, Any]:
    """The type and the event of a record.

    Raises:
        EventRejected: it is no event of ours, or its `ce_id` is not that of its value.
    """
    named = dict(headers)
    event_type = (named.get("ce_type") or b"").decode("ascii", "replace")
    event = decode_lifecycle_event(event_type, value or b"")
    if not 0 < event.originator_version <= BIGGEST:
        raise EventRejected("schema", f"`originator_version` is {event.originator_version}")
    event_id = f"{event.originator_id}:{event.originator_version}"
    if named.get("ce_id") != event_id.encode():
        raise EventRejected("event_id", f"`ce_id` is not {event_id}, which the value says")
    return event_type, event


def fold_lifecycle_event(event_type: str, event: Any) -> Decided:
    """What the event adds to the read models, apart from a failure's dead letter.

    Raises:
        EventRejected: it holds what no column can.
    """
    audit_row = _audit_row(event_type, event)
    return Decided(str(event.originator_id), event.originator_version, audit_row, changes_of(event))


def apply_changes(rows: Rows, changes: Iterable[Change]) -> None:
    """Change rows of one table in place, in this order."""
    for change in changes:
        if change.values is None:
            for key in [key for key in rows if key[: len(change.key)] == change.key]:
                del rows[key]
        elif change.begins:
            rows[change.key] = dict(change.values)
        elif change.key in rows:
            rows[change.key] |= change.values


# --- the audit log --------------------------------------------------------------------------------------


def _audit_row(event_type: str, event: Any) -> tuple[Any, ...]:
    denied = isinstance(event, Denial.Denied)
    subject = _subject_of(event)
    reason = getattr(event, "reason", None)
    return (
        str(event.originator_id),
        event.originator_version,
        instant_ms(event.timestamp),
        printable(event.actor),
        None if event.origin is None else event.origin[:_TEXT_LENGTH],
        printable(event.correlation_id),
        printable(event.action, 64) if denied else _short_type(event_type),
        subject.kind,
        subject.id,
        subject.device_id,
        subject.tenant_id,
        _json({name: value for name, value in event.before.items() if name not in SECRET_FIELDS}),
        _json({name: getattr(event, name) for name in own_fields(event)}),
        int(denied),
        None if reason is None else reason[:_TEXT_LENGTH],
    )


def _subject_of(event: Any) -> Subject:
    own_id = str(event.originator_id)
    match event:
        case Command.Event():
            return Subject("command", own_id, id_text(event.device_id))
        case Device.Registered():
            return Subject("device", id_text(event.device_id), event.device_id, id_text(event.tenant_id))
        case Device.Event():
            return Subject("device", id_text(event.device_id), event.device_id)
        case User.Event():
            return Subject("user", own_id)
        case Tenant.Event():
            return Subject("tenant", own_id, None, own_id)
        case Site.Event():
            return Subject("site", own_id)
        case FirmwareReleases.Event():
            return Subject("firmware", id_text(event.board))
        case _:
            return _subject_of_attempt(event.subject)


def _subject_of_attempt(subject: str) -> Subject:
    """What somebody tried to reach: `device:kettle`, or whatever it is called."""
    kind, colon, name = subject.partition(":")
    if not (colon and name and kind.isalpha()):
        return Subject("", printable(subject))
    known_id = name if name.isascii() and len(name) <= 64 else None
    device_id, tenant_id = (known_id if kind == wanted else None for wanted in ("device", "tenant"))
    return Subject(printable(kind, 64), printable(name), device_id, tenant_id)


def _short_type(event_type: str) -> str:
    """`wattaway.device-registered.v1` → `device-registered`."""
    return event_type.removeprefix("wattaway.").rpartition(".v")[0]


def _json(members: Mapping[str, Any]) -> str:
    try:
        return _encode(members).decode()
    except RecursionError as error:
        raise EventRejected("schema", "nested too deeply") from error
