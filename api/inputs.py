"""What clients may send: exactly the members that are named, of exactly these types, without control characters."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path
from pydantic import BaseModel, ConfigDict, Field

from domain.lifecycle.accounts import LONGEST_PASSWORD, SHORTEST_PASSWORD

# A line break in a name would be a forged header, log line or CSV row somewhere.
_PLAIN = r"^[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
_EMAIL = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$"
UUID_PATTERN = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
LONGEST_NAME = 100


class Input(BaseModel):
    """A JSON body: a member that is not named here is an error, so that nobody sets what is not theirs to set."""

    model_config = ConfigDict(extra="forbid", strict=True)


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=_PLAIN)]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=_EMAIL, examples=["ann@example.org"])]
Password = Annotated[str, Field(min_length=SHORTEST_PASSWORD, max_length=LONGEST_PASSWORD)]
Instant = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$",
        description="RFC 3339 with a zone.",
        examples=["2027-05-01T00:00:00Z"],
    ),
]
UserIdPath = Annotated[str, Path(pattern=UUID_PATTERN, examples=["0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11"])]
TenantIdPath = Annotated[str, Path(pattern=UUID_PATTERN, examples=["7c1f2c52-8a35-4d0c-9a6b-5a2f7b1d9e10"])]
TokenIdPath = Annotated[str, Path(pattern=UUID_PATTERN)]
InvitationIdPath = Annotated[str, Path(pattern=UUID_PATTERN)]
CommandIdPath = Annotated[str, Path(pattern=UUID_PATTERN)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="Whoever asks again under the same key gets the first command; up to 128 visible ASCII characters.",
    ),
]
