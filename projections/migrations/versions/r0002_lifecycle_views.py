"""The read models of users, tenants, registered devices, commands and the audit log."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")


def _ascii(length: int) -> sa.String:
    return sa.String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), *_MYSQL)


_TEXT = sa.String(500).with_variant(mysql.VARCHAR(500, charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)
_LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)


def _table(name: str, *columns: sa.Column[Any], key: tuple[str, ...], by: dict[str, list[str]] | None = None) -> None:
    op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key), sqlite_with_rowid=False, mysql_engine="InnoDB")
    for named, indexed in (by or {}).items():
        op.create_index(f"{name}_by_{named}", name, indexed)


def _big(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, autoincrement=False)


def _id(name: str, *, length: int = 64, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _ascii(length), nullable=nullable)


def _long(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _LONG_TEXT, nullable=nullable)


def upgrade() -> None:
    _create_people()
    _create_tenants()
    _create_registered_devices()
    _create_commands()
    _create_audit_log()


def _create_people() -> None:
    _table(
        "users",
        _id("user_id"),
        _big("signed_up_at_ms"),
        _long("name_sealed"),
        _long("email_sealed"),
        sa.Column("forgotten", sa.Boolean, nullable=False),
        _big("version"),
        key=("user_id",),
    )
    _table("site_admins", _id("user_id"), _big("since_at_ms"), key=("user_id",))


def _create_tenants() -> None:
    tenant = (_id("tenant_id"), _big("founded_at_ms"), _long("name_sealed"), _big("version"))
    _table("tenants", *tenant, key=("tenant_id",))
    _table(
        "tenant_members",
        _id("tenant_id"),
        _id("user_id"),
        _id("role"),
        _big("since_at_ms"),
        key=("tenant_id", "user_id"),
        by={"user_id": ["user_id"]},
    )


def _create_registered_devices() -> None:
    _table(
        "registered_devices",
        _id("device_id"),
        _id("tenant_id"),
        _long("name_sealed"),
        _long("location_sealed", nullable=True),
        _big("config_version"),
        _long("config_json"),
        _big("registered_at_ms"),
        _big("decommissioned_at_ms", nullable=True),
        _big("version"),
        key=("device_id",),
        by={"tenant_id": ["tenant_id"]},
    )
    share = (_id("device_id"), _id("user_id"), _id("permission"))
    _table("device_shares", *share, key=("device_id", "user_id"), by={"user_id": ["user_id"]})


def _create_commands() -> None:
    _table(
        "commands",
        _id("command_id"),
        _id("device_id"),
        _big("requested_at_ms"),
        _id("actor", length=190),
        _id("why"),
        _id("type"),
        _long("order_json"),
        _big("expires_at_ms"),
        _id("state"),
        sa.Column("attempts", sa.Integer, nullable=False),
        _big("first_dispatched_at_ms", nullable=True),
        _big("last_dispatched_at_ms", nullable=True),
        _big("ended_at_ms", nullable=True),
        sa.Column("ended_reason", _TEXT),
        _big("acted_at_ms", nullable=True),
        _big("reported_at_ms", nullable=True),
        sa.Column("relay", sa.SmallInteger),
        _id("late_result", nullable=True),
        _id("correlation_id", length=190),
        _big("version"),
        key=("command_id",),
        by={"requested_at_ms": ["device_id", "requested_at_ms"], "acted_at_ms": ["device_id", "acted_at_ms"]},
    )


def _create_audit_log() -> None:
    _table(
        "audit_log",
        _id("originator_id"),
        _big("version"),
        _big("at_ms"),
        _id("actor", length=190),
        sa.Column("origin", _TEXT),
        _id("correlation_id", length=190),
        _id("action"),
        _id("subject_kind"),
        _id("subject_id", length=190),
        _id("device_id", nullable=True),
        _id("tenant_id", nullable=True),
        _long("before_json"),
        _long("after_json"),
        sa.Column("denied", sa.Boolean, nullable=False),
        sa.Column("reason", _TEXT),
        key=("originator_id", "version"),
        by={
            "at_ms": ["at_ms"],
            "actor": ["actor", "at_ms"],
            "subject_id": ["subject_id", "at_ms"],
            "device_id": ["device_id", "at_ms"],
            "correlation_id": ["correlation_id"],
            "denied": ["denied", "at_ms"],
        },
    )
