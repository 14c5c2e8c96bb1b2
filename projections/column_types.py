"""The column types that read models share, alike on MySQL and SQLite."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, LargeBinary, String, Text, false
from sqlalchemy.dialects import mysql

_MYSQL = ("mysql", "mariadb")


def _ascii(length: int) -> String:
    """Case-sensitive and byte-ordered on MySQL too."""
    return String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), *_MYSQL)


ASCII_64 = _ascii(64)
ASCII_190 = _ascii(190)
ASCII_250 = _ascii(250)
BLOB = LargeBinary().with_variant(mysql.MEDIUMBLOB(), *_MYSQL)
LONG_TEXT = Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)
TEXT_500 = String(500).with_variant(mysql.VARCHAR(500, charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)


def ascii_equals(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Whether an ASCII column holds `text`: never, if that is not ASCII, with which MySQL refuses to compare (1267)."""
    return column == text if text.isascii() else false()


def key_part(name: str) -> Column[object]:
    """An integer of the primary key."""
    return Column(name, BigInteger, primary_key=True, autoincrement=False)
