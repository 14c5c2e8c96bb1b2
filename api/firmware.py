"""Releases of the sockets' firmware as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from api.services import API_PREFIX
from api.time_ranges import format_instant
from domain.clock import to_ms
from domain.lifecycle.firmware import Release


def release_document(release: Release) -> dict[str, Any]:
    """A release as it was just decided on."""
    said = {name: getattr(release, name) for name in ("board", "version", "counter", "size", "sha256", "signed_by")}
    return said | {
        "notes": release.notes,
        "published_at": _instant(release.published_at),
        "published_by": release.published_by,
        "withdrawn_at": _instant(release.withdrawn_at),
        "withdrawn_by": release.withdrawn_by,
        "withdrawn_reason": release.withdrawn_reason,
    }


def release_row_document(row: Row[Any]) -> dict[str, Any]:
    """The same from the read model."""
    withdrawn_at_ms = row.withdrawn_at_ms
    said = {name: getattr(row, name) for name in ("board", "version", "counter", "sha256", "signed_by", "notes")}
    return said | {
        "size": row.size_bytes,
        "published_at": format_instant(row.published_at_ms),
        "published_by": row.published_by,
        "withdrawn_at": None if withdrawn_at_ms is None else format_instant(withdrawn_at_ms),
        "withdrawn_by": row.withdrawn_by,
        "withdrawn_reason": row.withdrawn_reason,
    }


def offer_document(release: Release) -> dict[str, Any]:
    """What a socket is told of a release. Source: docs/protocol.md, "Updates"."""
    return {
        "version": release.version,
        "counter": release.counter,
        "size": release.size,
        "sha256": release.sha256,
        "url": f"{API_PREFIX}/device/firmware/images/{release.sha256}",
    }


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(to_ms(instant))
