"""The read model of published firmware."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")
_TEXT = sa.String(500).with_variant(mysql.VARCHAR(500, charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)


def _ascii(name: str, *, length: int = 64, nullable: bool = False) -> sa.Column[Any]:
    kind = sa.String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), *_MYSQL)
    return sa.Column(name, kind, nullable=nullable)


def _big(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, autoincrement=False)


def upgrade() -> None:
    op.create_table(
        "firmware_versions",
        _ascii("board"),
        _ascii("sha256"),
        _ascii("version"),
        _big("counter"),
        _big("size_bytes"),
        _ascii("signed_by"),
        sa.Column("notes", _TEXT),
        _big("published_at_ms"),
        _ascii("published_by", length=190),
        _big("withdrawn_at_ms", nullable=True),
        _ascii("withdrawn_by", length=190, nullable=True),
        sa.Column("withdrawn_reason", _TEXT),
        sa.PrimaryKeyConstraint("board", "sha256"),
        sqlite_with_rowid=False,
        mysql_engine="InnoDB",
    )
    op.create_index("firmware_versions_by_published_at_ms", "firmware_versions", ["published_at_ms"])
