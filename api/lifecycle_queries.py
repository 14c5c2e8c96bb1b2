"""SQL over the views of what was decided (commands, firmware, audit log); what is sealed is opened elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, func, literal, null, or_, select, union_all

from domain.events import EVENT_TYPES, DeviceEventReported
from projections.column_types import ascii_equals
from projections.dialect import is_mysql
from projections.tables import device_ref_of, read_model

RELAY_EVENTS = ("switched", "trip", "load_left_off")
"""What a socket itself reports when its relay changed without a command. Source: docs/protocol.md, "Status"."""
_EVENT_KIND = EVENT_TYPES[DeviceEventReported].removeprefix("wattaway.").removesuffix(".v1")


class CommandKey(NamedTuple):
    """Where a command stands in the newest-first order of its device."""

    requested_at_ms: int
    command_id: str


class AuditKey(NamedTuple):
    """Where an audited event stands in the newest-first order; its last two are the event's id."""

    at_ms: int
    originator_id: str
    version: int


class AuditFilter(NamedTuple):
    """Which audited events; None lets all through. `from_ms` is the first instant, `to_ms` the first one after."""

    from_ms: int | None = None
    to_ms: int | None = None
    actor: str | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    device_id: str | None = None
    tenant_id: str | None = None
    correlation_id: str | None = None
    action: str | None = None
    denied: bool | None = None


class FirmwareKey(NamedTuple):
    """Where a release stands in the newest-first order."""

    published_at_ms: int
    sha256: str


# --- commands -------------------------------------------------------------------------------------------


def command_rows(
    connection: Connection, device_id: str, before: CommandKey | None, limit: int, state: str | None = None
) -> Sequence[Row[Any]]:
    """Up to `limit` commands of a device, newest first; only those in `state`, if one is given."""
    commands = read_model().lifecycle.commands
    query = select(commands).where(commands.c.device_id == device_id)
    if state is not None:
        query = query.where(commands.c.state == state)
    return connection.execute(_newest_first(query, commands.c, CommandKey._fields, before).limit(limit)).all()


def relay_change_rows(connection: Connection, device_id: str, limit: int) -> Sequence[Row[Any]]:
    """What changed a socket's relay, newest first, in one query: "why did it switch?" is its first row.

    A command that the socket obeyed (`source` is `command`, with who and why), be it after its ending; or what the
    socket reported by itself (`source` is `socket`, with the report's JSON in `report`).
    """
    obeyed = _obeyed(device_id).subquery()
    reported = _reported(connection, device_id).subquery()
    both = union_all(
        select(obeyed).order_by(obeyed.c.at_ms.desc()).limit(limit).subquery().select(),
        select(reported).order_by(reported.c.at_ms.desc()).limit(limit).subquery().select(),
    ).subquery()
    return connection.execute(select(both).order_by(both.c.at_ms.desc(), both.c.source).limit(limit)).all()


def _obeyed(device_id: str) -> Select[Any]:
    commands = read_model().lifecycle.commands.c
    said = (commands.command_id, commands.actor, commands.why, commands.type, commands.order_json, commands.relay)
    query = select(
        literal("command").label("source"),
        commands.acted_at_ms.label("at_ms"),
        *said,
        commands.correlation_id,
        null().label("report"),
    )
    is_switch = commands.type.in_(("switch", "toggle"))
    return query.where(commands.device_id == device_id, commands.acted_at_ms.is_not(None), is_switch)


def _reported(connection: Connection, device_id: str) -> Select[Any]:
    reports = read_model().device_reports.c
    nothing = ("command_id", "actor", "why", "type", "order_json", "relay", "correlation_id")
    query = select(
        literal("socket").label("source"),
        reports.received_at_ms.label("at_ms"),
        *(null().label(name) for name in nothing),
        reports.body.label("report"),
    )
    event = func.json_extract(reports.body, "$.event")
    if is_mysql(connection):
        event = func.json_unquote(event)
    return query.where(
        reports.device_ref == device_ref_of(device_id),
        reports.kind == _EVENT_KIND,
        event.in_(RELAY_EVENTS),
        # A trip that is told again after a restart moved nothing.
        func.json_extract(reports.body, "$.details.again").is_(None),
    )


# --- the audit log --------------------------------------------------------------------------------------


def audit_rows(connection: Connection, wanted: AuditFilter, before: AuditKey | None, limit: int) -> Sequence[Row[Any]]:
    """Up to `limit` audited events, newest first."""
    audit = read_model().lifecycle.audit_log
    query = select(audit)
    for name in ("actor", "subject_kind", "subject_id", "device_id", "tenant_id", "correlation_id", "action"):
        text = getattr(wanted, name)
        if text is not None:
            query = query.where(ascii_equals(audit.c[name], text))
    if wanted.denied is not None:
        query = query.where(audit.c.denied == wanted.denied)
    if wanted.from_ms is not None:
        query = query.where(audit.c.at_ms >= wanted.from_ms)
    if wanted.to_ms is not None:
        query = query.where(audit.c.at_ms < wanted.to_ms)
    return connection.execute(_newest_first(query, audit.c, AuditKey._fields, before).limit(limit)).all()


# --- firmware -------------------------------------------------------------------------------------------


def firmware_rows(
    connection: Connection, board: str | None, before: FirmwareKey | None, limit: int
) -> Sequence[Row[Any]]:
    """Up to `limit` releases, newest first; only those of `board`, if one is given."""
    releases = read_model().lifecycle.firmware_versions
    query = select(releases)
    if board is not None:
        query = query.where(releases.c.board == board)
    return connection.execute(_newest_first(query, releases.c, FirmwareKey._fields, before).limit(limit)).all()


def _newest_first(
    query: Select[Any], columns: Any, names: Sequence[str], before: tuple[Any, ...] | None
) -> Select[Any]:
    """The query in the order of these columns downwards, behind a row.

    The row comparison is spelt out, so that MySQL walks the index on the first of them.
    """
    if before is not None:
        older: Any = columns[names[-1]] < before[-1]
        for name, value in zip(names[-2::-1], before[-2::-1], strict=True):
            older = or_(columns[name] < value, and_(columns[name] == value, older))
        query = query.where(columns[names[0]] <= before[0], older)
    return query.order_by(*(columns[name].desc() for name in names))
