"""The tables of the event store: the truth about everything that is decided here, and the keys to what is sealed in it.

On MySQL they stand beside the read models, in a lineage of migrations of their own.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "event_store_version"

_MYSQL = ("mysql", "mariadb")


def ascii_text(length: int) -> String:
    """Text of ids and codes: ASCII, equal only if every character is."""
    return String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), *_MYSQL)


def long_bytes() -> LargeBinary:
    return LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)


def _number(name: str, *, nullable: bool = False, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, primary_key=key, autoincrement=False)


def _stored(name: str, *more: Column[int]) -> Table:
    # With a rowid on SQLite, so that the log's rows lie in the order in which they are read.
    return Table(
        name,
        metadata,
        *more,
        Column("originator_id", ascii_text(36), primary_key=True),
        _number("originator_version", key=True),
        Column("topic", ascii_text(128), nullable=False),
        Column("state", long_bytes(), nullable=False),
        mysql_engine="InnoDB",
    )


metadata = MetaData()

stored_events = _stored("stored_events", _number("notification_id"))
Index("stored_events_by_notification_id", stored_events.c.notification_id, unique=True)
"""Every event ever decided, numbered without gaps in the order of the commits."""

snapshots = _stored("snapshots")
"""States of aggregates, so that not all of their events need to be folded; expendable."""

event_sequence = Table(
    "event_sequence",
    metadata,
    Column("name", ascii_text(64), primary_key=True),
    _number("last_id"),
    mysql_engine="InnoDB",
)
"""The last number given, one row a numbered table: whoever holds the row is the next to commit."""

tracking = Table(
    "tracking",
    metadata,
    Column("application_name", ascii_text(64), primary_key=True),
    _number("notification_id"),
    mysql_engine="InnoDB",
)
"""How far each consumer that writes into this database has come in the log."""

relay_positions = Table(
    "relay_positions",
    metadata,
    Column("relay", ascii_text(190), primary_key=True),
    Column("topic_id", ascii_text(64), nullable=False),
    _number("notification_id"),
    mysql_engine="InnoDB",
)
"""How far the log has been carried to Kafka, and to which topic: a topic made anew has another id."""

personal_keys = Table(
    "personal_keys",
    metadata,
    Column("subject", ascii_text(64), primary_key=True),
    Column("wrapped_key", LargeBinary().with_variant(mysql.VARBINARY(255), *_MYSQL)),
    _number("made_at_ms"),
    _number("forgotten_at_ms", nullable=True),
    mysql_engine="InnoDB",
)
"""The key of each person or tenant, wrapped by the master key; without one once they are forgotten."""

sign_in_names = Table(
    "sign_in_names",
    metadata,
    Column("name_hash", ascii_text(64), primary_key=True),
    Column("user_id", ascii_text(64), nullable=False, unique=True),
    _number("reserved_at_ms"),
    mysql_engine="InnoDB",
)
"""Who signs in under which name, which itself stands nowhere in the clear."""

firmware_images = Table(
    "firmware_images",
    metadata,
    Column("sha256", ascii_text(64), primary_key=True),
    Column("content", long_bytes(), nullable=False),
    _number("stored_at_ms"),
    mysql_engine="InnoDB",
)
"""The bytes of what was published as firmware; the events say which of them may be had."""
