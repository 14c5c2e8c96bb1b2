"""Who caused an event, when and from where; it stands in every lifecycle event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4


@dataclass(frozen=True)
class Cause:
    """What made something happen.

    Args:
        at: the deciding process's clock, UTC.
        actor: `user:{id}`, `token:{user id}/{token id}`, `device:{id}`, `system:{role}` or `anonymous`.
        correlation_id: the same through HTTP, events, Kafka, MQTT and the report that answers.
        origin: where from: the client's address, sealed for a known user; of strangers only their network.
    """

    at: datetime
    actor: str
    correlation_id: str
    origin: str | None = None


def user_behind(actor: str) -> str | None:
    """The id of the user who acted, or for whom a token did."""
    kind, _, rest = actor.partition(":")
    return rest.partition("/")[0] if kind in ("user", "token") else None


def system_cause(role: str, at: datetime, correlation_id: str | None = None) -> Cause:
    """The cause of what a role decides by itself."""
    return Cause(at, f"system:{role}", correlation_id or str(uuid4()))
