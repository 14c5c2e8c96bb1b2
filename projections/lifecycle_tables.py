"""The read models of what people decided: one row per user, tenant, socket, command and firmware
release, and one per audited event.

Each row comes from the events of one aggregate alone, which stand in one partition: so the order in which partitions
are read changes nothing. What joins aggregates (a forgotten user is nobody's member) is joined by whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from sqlalchemy import BigInteger, Boolean, Column, Integer, SmallInteger, Table

from projections.column_types import ASCII_64, ASCII_190, LONG_TEXT, TEXT_500

Indexes = Mapping[str, tuple[str, ...]]


class MakeTable(Protocol):
    """Makes a table of one generation; `by` are the columns of its indexes, by what they are named after."""

    def __call__(self, name: str, *columns: Column[object], by: Indexes | None = None) -> Table: ...


class LifecycleTables(NamedTuple):
    """Those of one generation."""

    users: Table
    site_admins: Table
    tenants: Table
    tenant_members: Table
    registered_devices: Table
    device_shares: Table
    commands: Table
    firmware_versions: Table
    audit_log: Table


def lifecycle_tables(table: MakeTable) -> LifecycleTables:
    return LifecycleTables(
        users=table(
            "users",
            _key("user_id"),
            _said("signed_up_at_ms", BigInteger),
            _said("name_sealed", LONG_TEXT),
            _said("email_sealed", LONG_TEXT),
            _said("forgotten", Boolean),
            _said("version", BigInteger),
        ),
        site_admins=table("site_admins", _key("user_id"), _said("since_at_ms", BigInteger)),
        tenants=table(
            "tenants",
            _key("tenant_id"),
            _said("founded_at_ms", BigInteger),
            _said("name_sealed", LONG_TEXT),
            _said("version", BigInteger),
        ),
        tenant_members=table(
            "tenant_members",
            _key("tenant_id"),
            _key("user_id"),
            _said("role", ASCII_64),
            _said("since_at_ms", BigInteger),
            by={"user_id": ("user_id",)},
        ),
        registered_devices=_registered_devices(table),
        device_shares=table(
            "device_shares",
            _key("device_id"),
            _key("user_id"),
            _said("permission", ASCII_64),
            by={"user_id": ("user_id",)},
        ),
        commands=_commands(table),
        firmware_versions=_firmware_versions(table),
        audit_log=_audit_log(table),
    )


def _registered_devices(table: MakeTable) -> Table:
    return table(
        "registered_devices",
        _key("device_id"),
        _said("tenant_id", ASCII_64),
        _said("name_sealed", LONG_TEXT),
        Column("location_sealed", LONG_TEXT),
        _said("config_version", BigInteger),
        _said("config_json", LONG_TEXT),
        _said("registered_at_ms", BigInteger),
        Column("decommissioned_at_ms", BigInteger),
        _said("version", BigInteger),
        by={"tenant_id": ("tenant_id",)},
    )


def _commands(table: MakeTable) -> Table:
    """`acted_at_ms` is when the engine heard that the socket did it, be it after the ending (`late_result`)."""
    return table(
        "commands",
        _key("command_id"),
        _said("device_id", ASCII_64),
        _said("requested_at_ms", BigInteger),
        _said("actor", ASCII_190),
        _said("why", ASCII_64),
        _said("type", ASCII_64),
        _said("order_json", LONG_TEXT),
        _said("expires_at_ms", BigInteger),
        _said("state", ASCII_64),
        _said("attempts", Integer),
        Column("first_dispatched_at_ms", BigInteger),
        Column("last_dispatched_at_ms", BigInteger),
        Column("ended_at_ms", BigInteger),
        Column("ended_reason", TEXT_500),
        Column("acted_at_ms", BigInteger),
        Column("reported_at_ms", BigInteger),
        Column("relay", SmallInteger),
        Column("late_result", ASCII_64),
        _said("correlation_id", ASCII_190),
        _said("version", BigInteger),
        by={"requested_at_ms": ("device_id", "requested_at_ms"), "acted_at_ms": ("device_id", "acted_at_ms")},
    )


def _firmware_versions(table: MakeTable) -> Table:
    return table(
        "firmware_versions",
        _key("board"),
        _key("sha256"),
        _said("version", ASCII_64),
        _said("counter", BigInteger),
        _said("size_bytes", BigInteger),
        _said("signed_by", ASCII_64),
        Column("notes", TEXT_500),
        _said("published_at_ms", BigInteger),
        _said("published_by", ASCII_190),
        Column("withdrawn_at_ms", BigInteger),
        Column("withdrawn_by", ASCII_190),
        Column("withdrawn_reason", TEXT_500),
        by={"published_at_ms": ("published_at_ms",)},
    )


def _audit_log(table: MakeTable) -> Table:
    """Its key is the id of the event: so it also tells up to which version an aggregate is in the read models."""
    return table(
        "audit_log",
        _key("originator_id"),
        Column("version", BigInteger, primary_key=True, autoincrement=False),
        _said("at_ms", BigInteger),
        _said("actor", ASCII_190),
        Column("origin", TEXT_500),
        _said("correlation_id", ASCII_190),
        _said("action", ASCII_64),
        _said("subject_kind", ASCII_64),
        _said("subject_id", ASCII_190),
        Column("device_id", ASCII_64),
        Column("tenant_id", ASCII_64),
        _said("before_json", LONG_TEXT),
        _said("after_json", LONG_TEXT),
        _said("denied", Boolean),
        Column("reason", TEXT_500),
        by={
            "at_ms": ("at_ms",),
            "actor": ("actor", "at_ms"),
            "subject_id": ("subject_id", "at_ms"),
            "device_id": ("device_id", "at_ms"),
            "correlation_id": ("correlation_id",),
            "denied": ("denied", "at_ms"),
        },
    )


def _key(name: str) -> Column[object]:
    return Column(name, ASCII_64, primary_key=True)


def _said(name: str, kind: Any) -> Column[object]:
    """A column that always has a value."""
    return Column(name, kind, nullable=False)
