"""Firmware as OpenAPI describes it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from api.schemas import Answer


class FirmwareRelease(Answer):
    """A release of a board's firmware."""

    board: str = Field(examples=["uart-cse7766"])
    version: str = Field(examples=["1.2.0"])
    counter: int = Field(description="Grows with every release of a board: what sockets compare.", examples=[3])
    size: int = Field(description="Of the image, in bytes.")
    sha256: str = Field(description="Of the whole image.", pattern="^[0-9a-f]{64}$")
    signed_by: str = Field(description="SHA-256 of the public key (DER, SubjectPublicKeyInfo).")
    notes: str | None
    published_at: datetime
    published_by: str = Field(examples=["user:0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11"])
    withdrawn_at: datetime | None = Field(description="From then on no socket gets it.")
    withdrawn_by: str | None
    withdrawn_reason: str | None


class FirmwareOffer(Answer):
    """What a socket is offered."""

    version: str
    counter: int
    size: int
    sha256: str
    url: str = Field(description="Where the image is, below the same server; with the same token.")
