"""The id that follows a request through events, Kafka, MQTT and the report that answers."""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.types import Scope

HEADER = b"x-correlation-id"
_ALLOWED = re.compile(rb"[A-Za-z0-9_-]{1,64}")


def correlation_id(scope: Scope) -> str:
    """The client's own if it is harmless, else a new one; the same for the whole request."""
    state = scope.setdefault("state", {})
    known: str | None = state.get("correlation_id")
    if known is None:
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        known = given.decode() if _ALLOWED.fullmatch(given) else str(uuid4())
        state["correlation_id"] = known
    return known
