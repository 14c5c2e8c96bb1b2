"""The read models of readings, reports and dead letters."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from domain.clock import SystemClock
from projections.partitions import partition_readings
from projections.tables import read_model

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")


def _ascii(length: int) -> sa.String:
    return sa.String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), *_MYSQL)


_TEXT = sa.String(500).with_variant(mysql.VARCHAR(500, charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)
_LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)
_BLOB = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), *_MYSQL)


def _table(name: str, *columns: sa.Column[Any], key: tuple[str, ...]) -> None:
    op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key), sqlite_with_rowid=False, mysql_engine="InnoDB")


def _big(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, autoincrement=False)


def _int(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=nullable, autoincrement=False)


def upgrade() -> None:
    _create_devices()
    _create_readings()
    for width in ("15m", "1h", "1d"):
        _create_rollups(f"rollups_{width}")
    _table("dirty_buckets", _big("device_ref"), _big("bucket_at_ms"), key=("device_ref", "bucket_at_ms"))
    _create_reports()
    _create_dead_letters()
    _create_positions()
    partition_readings(op.get_bind(), read_model(), SystemClock().now_ms())


def _create_devices() -> None:
    _table(
        "devices",
        _big("device_ref"),
        sa.Column("device_id", _ascii(64), nullable=False, unique=True),
        _big("first_seen_at_ms"),
        sa.Column("online", sa.Boolean),
        _big("presence_at_ms", nullable=True),
        sa.Column("boot", sa.String(8)),
        sa.Column("firmware", _TEXT),
        _big("config", nullable=True),
        key=("device_ref",),
    )
    _table("boots", _big("device_ref"), _big("boot"), _big("boot_at_ms"), key=("device_ref", "boot"))


def _create_readings() -> None:
    _table(
        "readings",
        _big("device_ref"),
        _big("measured_at_ms"),
        _big("boot"),
        _big("seq"),
        _big("received_at_ms"),
        _int("power_mw"),
        _int("voltage_mv", nullable=True),
        _int("current_ma", nullable=True),
        _big("energy_mwh", nullable=True),
        sa.Column("relay", sa.SmallInteger),
        _int("temperature_mc", nullable=True),
        sa.Column("rssi_dbm", sa.SmallInteger),
        key=("device_ref", "measured_at_ms", "boot", "seq"),
    )


def _create_rollups(name: str) -> None:
    _table(
        name,
        _big("device_ref"),
        _big("bucket_at_ms"),
        _int("readings"),
        _big("power_mw_sum"),
        _int("power_mw_min"),
        _int("power_mw_max"),
        _big("energy_mwh", nullable=True),
        _big("first_at_ms"),
        _big("last_at_ms"),
        key=("device_ref", "bucket_at_ms"),
    )


def _create_reports() -> None:
    _table(
        "device_reports",
        _big("device_ref"),
        sa.Column("report_id", _ascii(250), nullable=False),
        _big("received_at_ms"),
        sa.Column("kind", _ascii(64), nullable=False),
        sa.Column("body", _LONG_TEXT, nullable=False),
        key=("device_ref", "report_id"),
    )
    op.create_index("device_reports_by_received_at_ms", "device_reports", ["device_ref", "received_at_ms"])


def _create_dead_letters() -> None:
    _table(
        "dead_letters",
        sa.Column("log_topic", _ascii(64), nullable=False, server_default="dead-letters"),
        _int("log_partition"),
        _big("log_offset"),
        _big("received_at_ms"),
        sa.Column("device_id", _ascii(64)),
        sa.Column("boot", sa.String(8)),
        _big("seq", nullable=True),
        sa.Column("reason", _ascii(64), nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sa.Column("origin", _TEXT, nullable=False),
        sa.Column("raw", _BLOB, nullable=False),
        key=("log_topic", "log_partition", "log_offset"),
    )
    op.create_index("dead_letters_by_received_at_ms", "dead_letters", ["received_at_ms"])


def _create_positions() -> None:
    _table(
        "consumer_positions",
        sa.Column("consumer_group", _ascii(190), nullable=False),
        sa.Column("topic", _ascii(190), nullable=False),
        _int("log_partition"),
        sa.Column("topic_id", _ascii(64), nullable=False),
        _big("next_offset"),
        sa.Column("generation", _ascii(64), nullable=False),
        key=("consumer_group", "topic", "log_partition"),
    )
