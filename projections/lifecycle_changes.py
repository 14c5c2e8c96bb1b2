"""What each lifecycle event changes in the read models, as values that need no look at what is there.

Everything is checked here: a value that a column cannot hold makes the record a dead letter, and never a transaction
that fails again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from domain.clock import to_ms
from domain.errors import EventRejected
from domain.lifecycle.commands import Command
from domain.lifecycle.devices import Device
from domain.lifecycle.firmware import FirmwareReleases
from domain.lifecycle.site import Site
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.users import User

BIGGEST = 2**63 - 1
_ID_LENGTH = 64
_NAME_LENGTH = 190
_TEXT_LENGTH = 500
_encode = msgspec.json.Encoder().encode


class Change(NamedTuple):
    """Of one row, or the removal of all rows whose key begins so."""

    table: str
    key: tuple[str, ...]
    values: Mapping[str, Any] | None
    """None removes."""
    begins: bool = False
    """Makes the row, or makes it anew; else only a row that is there changes."""


def changes_of(event: Any) -> list[Change]:
    """What the event changes; nothing for a denied attempt, which only the audit log shows.

    Raises:
        EventRejected: it holds what no event of ours can.
    """
    match event:
        case Command.Event():
            return [_of_command(event)]
        case Device.Event():
            return _of_device(event)
        case User.Event():
            return [_of_user(event)]
        case FirmwareReleases.Published() | FirmwareReleases.Withdrawn():
            return [_of_release(event)]
        case Tenant.Event():
            return _of_tenant(event)
        case Site.Claimed() | Site.AdminGranted():
            since = {"since_at_ms": instant_ms(event.timestamp)}
            return [Change("site_admins", (id_text(event.user_id),), since, begins=True)]
        case Site.AdminRevoked():
            return [Change("site_admins", (id_text(event.user_id),), None)]
        case _:
            return []


# --- people ---------------------------------------------------------------------------------------------


def _of_user(event: User.Event) -> Change:
    values: dict[str, Any] = {"version": event.originator_version}
    match event:
        case User.SignedUp():
            values["signed_up_at_ms"] = instant_ms(event.timestamp)
            values |= {"name_sealed": event.name_sealed, "email_sealed": event.email_sealed, "forgotten": 0}
        case User.Renamed():
            values["name_sealed"] = event.name_sealed
        case User.EmailChanged():
            values["email_sealed"] = event.email_sealed
        case User.Forgotten():
            values["forgotten"] = 1
    return Change("users", (str(event.originator_id),), values, begins=isinstance(event, User.SignedUp))


def _of_tenant(event: Tenant.Event) -> list[Change]:
    tenant_id, at_ms = str(event.originator_id), instant_ms(event.timestamp)
    values: dict[str, Any] = {"version": event.originator_version}
    changes: list[Change] = []

    def member(user_id: str, values: Mapping[str, Any] | None, *, begins: bool = False) -> None:
        changes.append(Change("tenant_members", (tenant_id, id_text(user_id)), values, begins))

    match event:
        case Tenant.Founded():
            values |= {"founded_at_ms": at_ms, "name_sealed": event.name_sealed}
            if event.owner_id is not None:
                member(event.owner_id, {"role": "owner", "since_at_ms": at_ms}, begins=True)
        case Tenant.Renamed():
            values["name_sealed"] = event.name_sealed
        case Tenant.MemberAdded() | Tenant.InvitationAccepted():
            member(event.user_id, {"role": event.role, "since_at_ms": at_ms}, begins=True)
        case Tenant.MemberRoleChanged():
            member(event.user_id, {"role": event.role})
        case Tenant.MemberRemoved():
            member(event.user_id, None)
        case Tenant.Dissolved():
            changes.append(Change("tenant_members", (tenant_id,), None))
    return [Change("tenants", (tenant_id,), values, begins=isinstance(event, Tenant.Founded)), *changes]


# --- sockets --------------------------------------------------------------------------------------------


def _of_device(event: Device.Event) -> list[Change]:
    device_id = id_text(event.device_id)
    return [_of_registration(device_id, event), *_of_shares(device_id, event)]


def _of_registration(device_id: str, event: Device.Event) -> Change:
    values: dict[str, Any] = {"version": event.originator_version}
    match event:
        case Device.Registered():
            values |= {"tenant_id": id_text(event.tenant_id), "name_sealed": event.name_sealed}
            values |= {"config_version": 0, "config_json": "{}", "registered_at_ms": instant_ms(event.timestamp)}
        case Device.Described():
            values |= {"name_sealed": event.name_sealed, "location_sealed": event.location_sealed}
        case Device.Configured():
            values |= {"config_version": count(event.config_version), "config_json": _encode(event.config).decode()}
        case Device.TokenRotated():
            values["decommissioned_at_ms"] = None
        case Device.Decommissioned():
            values["decommissioned_at_ms"] = instant_ms(event.timestamp)
    return Change("registered_devices", (device_id,), values, begins=isinstance(event, Device.Registered))


def _of_shares(device_id: str, event: Device.Event) -> list[Change]:
    match event:
        case Device.Shared():
            key = (device_id, id_text(event.user_id))
            return [Change("device_shares", key, {"permission": event.permission}, begins=True)]
        case Device.Unshared():
            return [Change("device_shares", (device_id, id_text(event.user_id)), None)]
        case Device.Decommissioned():
            return [Change("device_shares", (device_id,), None)]
        case _:
            return []


def _of_command(event: Command.Event) -> Change:
    at_ms = instant_ms(event.timestamp)
    values: dict[str, Any] = {"version": event.originator_version}
    match event:
        case Command.Requested():
            values |= _of_request(event, at_ms)
        case Command.Dispatched():
            values |= {"state": "dispatched", "attempts": count(event.attempt, 2**31 - 1)}
            values["last_dispatched_at_ms"] = at_ms
            if event.attempt == 1:
                values["first_dispatched_at_ms"] = at_ms
        case Command.ReportedLate():
            values["late_result"] = printable(event.result, _ID_LENGTH)
            if event.result == "done":
                values["acted_at_ms"] = at_ms
        case _:
            values |= _of_ending(event, at_ms)
    return Change("commands", (str(event.originator_id),), values, begins=isinstance(event, Command.Requested))


def _of_request(event: Command.Requested, at_ms: int) -> dict[str, Any]:
    return {
        "device_id": id_text(event.device_id),
        "requested_at_ms": at_ms,
        "actor": printable(event.actor),
        "why": event.why,
        "type": event.order.type,
        "order_json": _encode(event.order).decode(),
        "expires_at_ms": instant_ms(event.expires_at),
        "state": "requested",
        "attempts": 0,
        "correlation_id": printable(event.correlation_id),
    }


def _of_ending(event: Command.Event, at_ms: int) -> dict[str, Any]:
    match event:
        case Command.Acknowledged():
            relay = None if event.relay is None else int(event.relay)
            values = {"relay": relay, "acted_at_ms": at_ms, "reported_at_ms": _or_none(event.reported_at)}
            return {"state": "acknowledged", "ended_at_ms": at_ms, **values}
        case Command.Rejected():
            reason = {"ended_reason": event.reason[:_TEXT_LENGTH]}
            return {"state": "rejected", "ended_at_ms": at_ms, "reported_at_ms": _or_none(event.reported_at), **reason}
        case Command.Failed():
            return {"state": "failed", "ended_at_ms": at_ms, "ended_reason": event.reason[:_TEXT_LENGTH]}
        case Command.Expired():
            return {"state": "expired", "ended_at_ms": at_ms}
        case _:
            raise EventRejected("event_type", f"{type(event).__qualname__} has no projection")


# --- firmware -------------------------------------------------------------------------------------------


def _of_release(event: FirmwareReleases.Published | FirmwareReleases.Withdrawn) -> Change:
    key, at_ms = (id_text(event.board), id_text(event.sha256)), instant_ms(event.timestamp)
    if isinstance(event, FirmwareReleases.Withdrawn):
        reason = None if event.reason is None else event.reason[:_TEXT_LENGTH]
        how = {"withdrawn_at_ms": at_ms, "withdrawn_by": printable(event.actor), "withdrawn_reason": reason}
        return Change("firmware_versions", key, how)
    values = {
        "version": id_text(event.version),
        "counter": count(event.counter),
        "size_bytes": count(event.size),
        "signed_by": id_text(event.signed_by),
        "notes": None if event.notes is None else event.notes[:_TEXT_LENGTH],
        "published_at_ms": at_ms,
        "published_by": printable(event.actor),
    }
    return Change("firmware_versions", key, values, begins=True)


# --- what columns can hold ------------------------------------------------------------------------------


def id_text(text: str) -> str:
    """The text, if it can be a key."""
    if not text.isascii() or not 0 < len(text) <= _ID_LENGTH:
        raise EventRejected("schema", f"{text[:80]!r} is not an id: 1 to {_ID_LENGTH} ASCII characters")
    return text


def instant_ms(instant: datetime) -> int:
    """The instant in ms since 1970, if it is one: without a zone nobody knows which."""
    if instant.tzinfo is None:
        raise EventRejected("schema", f"{instant.isoformat()} has no time zone")
    return to_ms(instant)


def count(number: int, most: int = BIGGEST) -> int:
    if not 0 <= number <= most:
        raise EventRejected("schema", f"{number} is not between 0 and {most}")
    return number


def printable(text: str, length: int = _NAME_LENGTH) -> str:
    """What is kept of a text that nothing depends on: ASCII, and not too long."""
    return text.encode("ascii", "replace").decode()[:length]


def _or_none(instant: datetime | None) -> int | None:
    return None if instant is None else instant_ms(instant)
