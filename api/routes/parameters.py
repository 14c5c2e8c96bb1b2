"""Query and path parameters that several routes take."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from domain.device_ids import DEVICE_ID_PATTERN

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
