"""Page cursors: where the next page begins, as an opaque token that a client hands back unread.

A cursor holds the key of the last row shown, never a row number, so pages neither skip nor repeat a row while data
arrives.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta
from sqlalchemy import Row

from domain.errors import InvalidInput

Keys = TypeVar("Keys")
RowKey = TypeVar("RowKey", bound=NamedTuple)
Ascii = Annotated[str, Meta(pattern=r"^[\x00-\x7f]*$")]
"""A key's text: it comes from a column of ASCII, which MySQL compares with nothing else."""


def encode_cursor(keys: object) -> str:
    """`keys` (a tuple of plain values) as a token safe in a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(keys)).rstrip(b"=").decode()


def decode_cursor(token: str, shape: type[Keys]) -> Keys:
    """The keys in a token made by `encode_cursor`.

    Raises:
        InvalidInput: not a cursor of this route.
    """
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        return msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=shape)
    except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput("cursor", "`cursor` is not one that this route gave out") from error


def cut_page(rows: Sequence[Row[Any]], limit: int, key: type[RowKey]) -> tuple[Sequence[Row[Any]], RowKey | None]:
    """The rows of a page, and the key of the last one if more follow.

    Args:
        rows: up to `limit` + 1 of them, in their order; the one too many tells that more follow.
        key: its members are the columns by which they are ordered.
    """
    shown = rows[:limit]
    more = len(rows) > limit
    return shown, key._make(getattr(shown[-1], name) for name in key._fields) if more else None
