"""The audit log as OpenAPI describes it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas import Answer


class AuditRecord(Answer):
    """Something that was decided, or denied. What is personal is shown while it is not forgotten."""

    id: str = Field(description="The event's: aggregate and version; `ce_id` of its Kafka record.")
    at: datetime
    actor: str = Field(examples=["user:0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11"])
    who: str | None = Field(description="The name of the user behind it.")
    origin: str | None = Field(description="Where from; of strangers only their network.")
    correlation_id: str
    action: str = Field(examples=["device-registered"])
    subject: str = Field(examples=["device:kitchen-kettle"])
    device_id: str | None
    tenant_id: str | None
    denied: bool
    reason: str | None
    before: dict[str, Any] = Field(description="What was replaced, secrets left out.")
    after: dict[str, Any]
