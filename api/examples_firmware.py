"""Example answers about firmware for OpenAPI; a test holds each against its model."""

from __future__ import annotations

from typing import Any

_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

RELEASE: dict[str, Any] = {
    "board": "uart-cse7766",
    "version": "1.2.0",
    "counter": 3,
    "size": 187_456,
    "sha256": _SHA256,
    "signed_by": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "notes": "Finds the Wi-Fi again after the router was away for days.",
    "published_at": "2026-11-23T17:00:00.000Z",
    "published_by": "token:0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11/b7a5c5e2-7a52-4f0e-8f39-1f2d3c4b5a69",
    "withdrawn_at": None,
    "withdrawn_by": None,
    "withdrawn_reason": None,
}
WITHDRAWN: dict[str, Any] = {
    **RELEASE,
    "withdrawn_at": "2026-11-24T08:00:00.000Z",
    "withdrawn_by": "user:0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11",
    "withdrawn_reason": "Some sockets report no power.",
}
RELEASES: dict[str, Any] = {"items": [RELEASE], "next_cursor": None}
OFFER: dict[str, Any] = {
    "version": "1.2.0",
    "counter": 3,
    "size": 187_456,
    "sha256": _SHA256,
    "url": f"/api/v1/device/firmware/images/{_SHA256}",
}
