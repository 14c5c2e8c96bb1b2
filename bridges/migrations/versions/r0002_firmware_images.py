"""The bytes of published firmware."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")


def upgrade() -> None:
    name = sa.String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), *_MYSQL)
    op.create_table(
        "firmware_images",
        sa.Column("sha256", name, nullable=False),
        sa.Column("content", sa.LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL), nullable=False),
        sa.Column("stored_at_ms", sa.BigInteger, nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("sha256"),
        mysql_engine="InnoDB",
    )
