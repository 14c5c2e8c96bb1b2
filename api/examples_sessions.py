"""Example answers about sessions for OpenAPI; a test holds each against its model."""

from __future__ import annotations

from typing import Any

SESSION: dict[str, Any] = {
    "user_id": "0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11",
    "name": "Ann",
    "email": "ann@example.org",
    "admin": True,
    "csrf_token": "mZ0…",
    "authenticated_at": "2026-11-23T17:00:00.000Z",
    "reauthentication_after": "2026-11-23T17:10:00.000Z",
    "expires_at": "2026-12-23T17:00:00.000Z",
}
SET_UP_STATE: dict[str, Any] = {"needed": True, "sign_up": "invitation"}
SIGN_UP_ACCEPTED: dict[str, Any] = {"status": "accepted"}
DEVICE_ITSELF: dict[str, Any] = {
    "device_id": "kitchen-kettle",
    "server_time": "2026-11-23T17:00:00.000Z",
    "config_version": 7,
    "config": {"interval_ms": 10000, "max_power_mw": 2500000},
}
