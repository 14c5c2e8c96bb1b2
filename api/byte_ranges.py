"""Which part of a file a request asks for. Source: RFC 9110, sections 13 and 14.

Starlette's `FileResponse` knows ranges of files on a disk only, and answers wrong ones in its own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from domain.errors import WattAwayError

_is_single = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE).fullmatch


class RangeNotSatisfiable(WattAwayError):
    """The part begins behind the end."""


def asked_part(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """The bytes asked for, of `size`; None for all of them.

    Whoever asks for several parts, or for what cannot be read, gets everything, as one who does not know ranges does.

    Args:
        headers: by name, whatever its case.
        etag: of the file as it is; a part of another one is not asked for (`If-Range`).
    Raises:
        RangeNotSatisfiable: there is no such part.
    """
    if headers.get("if-range", etag) != etag:
        return None
    found = _is_single(headers.get("range", ""))
    if found is None or found[0].endswith("=-"):
        return None
    first, last = found[1], found[2]
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        raise RangeNotSatisfiable(f"there are {size} bytes")
    return range(start, stop)


def is_known(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the client has this file already (`If-None-Match`)."""
    known = [one.strip().removeprefix("W/") for one in headers.get("if-none-match", "").split(",")]
    return etag in known or known == ["*"]
