"""A command as its own events tell it: right from the moment it was accepted, whatever the read models know."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from api.people import People
from api.services import API_PREFIX
from api.time_ranges import format_instant
from domain.clock import to_ms
from domain.errors import Missing
from domain.lifecycle.access import Access
from domain.lifecycle.cause import user_behind
from domain.lifecycle.commands import Command
from domain.lifecycle.lifecycle import Lifecycle

_ENDINGS: dict[type[Any], str] = {
    Command.Acknowledged: "acknowledged",
    Command.Rejected: "rejected",
    Command.Expired: "expired",
    Command.Failed: "failed",
}


def command_document(lifecycle: Lifecycle, device_id: str, command_id: str) -> dict[str, Any]:
    """What happened to a command so far, without the name of who asked; blocking.

    Raises:
        Missing: this device never got it.
    """
    events = list(lifecycle.events.get(UUID(command_id)))
    first = events[0] if events else None
    if not isinstance(first, Command.Requested) or first.device_id != device_id:
        raise Missing("unknown-command", "no such command of this device")
    return fold_command(first, events[1:])


def fold_command(first: Command.Requested, later: Iterable[Any]) -> dict[str, Any]:
    """The document of these events."""
    order = msgspec.to_builtins(first.order)
    document: dict[str, Any] = {
        "command_id": str(first.originator_id),
        "device_id": first.device_id,
        "type": first.order.type,
        "order": order,
        "state": "requested",
        "why": first.why,
        "actor": first.actor,
        "correlation_id": first.correlation_id,
        "requested_at": _instant(first.timestamp),
        "expires_at": _instant(first.expires_at),
        "attempts": 0,
        "dispatched_at": None,
        "ended_at": None,
        "latency_ms": None,
        "reason": None,
        "late_result": None,
    }
    for event in later:
        _take(document, first.timestamp, event)
    return document


def _take(document: dict[str, Any], requested_at: datetime, event: Any) -> None:
    if isinstance(event, Command.Dispatched):
        document |= {"state": "dispatched", "attempts": event.attempt}
        document["dispatched_at"] = document["dispatched_at"] or _instant(event.timestamp)
    elif isinstance(event, Command.ReportedLate):
        document["late_result"] = event.result
    else:
        document |= {"state": _ENDINGS[type(event)], "ended_at": _instant(event.timestamp)}
        document["reason"] = getattr(event, "reason", None)
        if isinstance(event, Command.Acknowledged | Command.Rejected):
            document["latency_ms"] = (event.timestamp - requested_at) // timedelta(milliseconds=1)


def accepted_document(document: dict[str, Any]) -> dict[str, Any]:
    """What never changes of a command, so that asking again answers the same."""
    kept = ("command_id", "device_id", "type", "requested_at", "expires_at")
    return {name: document[name] for name in kept} | {"url": command_url(document["device_id"], document["command_id"])}


def command_url(device_id: str, command_id: str) -> str:
    return f"{API_PREFIX}/devices/{device_id}/commands/{command_id}"


def with_who(document: dict[str, Any], access: Access, people: People) -> dict[str, Any]:
    """The same with the name of the user who asked; blocking."""
    user_id = user_behind(document["actor"] or "")
    return document | {"who": None if user_id is None else people.name_of(access.users.get(user_id))}


def _instant(at: datetime) -> str:
    return format_instant(to_ms(at))


def row_document(row: Any) -> dict[str, Any]:
    """The document of a row of the read models, without the name of who asked."""
    answered = row.state in ("acknowledged", "rejected") and row.ended_at_ms is not None
    return {
        "command_id": row.command_id,
        "device_id": row.device_id,
        "type": row.type,
        "order": msgspec.Raw(row.order_json.encode()),
        "state": row.state,
        "why": row.why,
        "actor": row.actor,
        "correlation_id": row.correlation_id,
        "requested_at": format_instant(row.requested_at_ms),
        "expires_at": format_instant(row.expires_at_ms),
        "attempts": row.attempts,
        "dispatched_at": _or_none(row.first_dispatched_at_ms),
        "ended_at": _or_none(row.ended_at_ms),
        "latency_ms": row.ended_at_ms - row.requested_at_ms if answered else None,
        "reason": row.ended_reason,
        "late_result": row.late_result,
    }


def change_document(row: Any) -> dict[str, Any]:
    """What moved a relay, without the name of who asked."""
    return {
        "source": row.source,
        "at": format_instant(row.at_ms),
        "command_id": row.command_id,
        "type": row.type,
        "relay": None if row.relay is None else bool(row.relay),
        "why": row.why,
        "actor": row.actor,
        "correlation_id": row.correlation_id,
        "report": None if row.report is None else msgspec.Raw(row.report.encode()),
    }


def _or_none(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_instant(at_ms)
