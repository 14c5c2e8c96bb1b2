"""The event store, its snapshots and positions, and the keys to what is sealed in it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")


def _ascii(name: str, length: int, *, unique: bool = False) -> sa.Column[Any]:
    kind = sa.String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), *_MYSQL)
    return sa.Column(name, kind, nullable=False, unique=unique)


def _big(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, autoincrement=False)


def _table(name: str, *columns: sa.Column[Any], key: tuple[str, ...]) -> sa.Table:
    return op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key), mysql_engine="InnoDB")


def upgrade() -> None:
    _stored("stored_events", _big("notification_id"))
    op.create_index("stored_events_by_notification_id", "stored_events", ["notification_id"], unique=True)
    _stored("snapshots")
    sequence = _table("event_sequence", _ascii("name", 64), _big("last_id"), key=("name",))
    op.bulk_insert(sequence, [{"name": "stored_events", "last_id": 0}])
    _table("tracking", _ascii("application_name", 64), _big("notification_id"), key=("application_name",))
    _table("relay_positions", _ascii("relay", 190), _ascii("topic_id", 64), _big("notification_id"), key=("relay",))
    _table(
        "personal_keys",
        _ascii("subject", 64),
        sa.Column("wrapped_key", sa.LargeBinary().with_variant(mysql.VARBINARY(255), *_MYSQL)),
        _big("made_at_ms"),
        _big("forgotten_at_ms", nullable=True),
        key=("subject",),
    )
    _table(
        "sign_in_names",
        _ascii("name_hash", 64),
        _ascii("user_id", 64, unique=True),
        _big("reserved_at_ms"),
        key=("name_hash",),
    )


def _stored(name: str, *more: sa.Column[Any]) -> None:
    state = sa.LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)
    _table(
        name,
        *more,
        _ascii("originator_id", 36),
        _big("originator_version"),
        _ascii("topic", 128),
        sa.Column("state", state, nullable=False),
        key=("originator_id", "originator_version"),
    )
