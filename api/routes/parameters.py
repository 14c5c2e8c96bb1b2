"""Query and path parameters that several routes take, and what they answer alike."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query

from domain.device_ids import DEVICE_ID_PATTERN
from domain.errors import Denied
from domain.lifecycle.policy import Principal

DeviceIdPath = Annotated[str, Path(pattern=DEVICE_ID_PATTERN, examples=["kitchen-kettle"])]
CursorQuery = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]
FromQuery = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=60,
        description="RFC 3339 or relative to now (`-24h`; s, m, h, d, w); inclusive.",
        examples=["-24h"],
    ),
]
ToQuery = Annotated[
    str | None, Query(alias="to", max_length=60, description="The same forms; exclusive.", examples=["now"])
]
NO_CONTENT: dict[str, Any] = {"description": "Done"}
READ_PROBLEMS = (401, 403, 404, 422, 429, 503)
CHANGE_PROBLEMS = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
"""The statuses of what may go wrong when one thing is read, or changed by a body."""


def user_id_of(asker: Principal) -> str:
    """The user behind the asker.

    Raises:
        Denied: a device, which is nobody.
    """
    if asker.user_id is None:
        raise Denied("forbidden", "this is for users")
    return asker.user_id
