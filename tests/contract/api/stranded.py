"""An API whose servers are not there, but whose application is, in memory: one user with a token and a device."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from api.app import create_app
from api.asyncapi import Brokers
from domain.clock import to_ms
from domain.lifecycle.sockets import NewDevice
from tests.contract.api.corner import MovableClock
from tests.unit.lifecycle_parts import NOW, Parts, cause


def stranded_app(folder: Path, **more: Any) -> tuple[FastAPI, str]:
    """The app, and a token of its admin, who has a device `x`."""
    parts = Parts()
    user_id, tenant_id = parts.sign_up("olga")
    parts.sockets.register(tenant_id, [NewDevice("x", "x")], cause())
    issued = parts.accounts.issue_api_token(
        user_id, cause(), label="test", scope="manage", expires_at=NOW + timedelta(days=9)
    )
    arguments = {
        "database_url": f"sqlite:///{folder / 'none.db'}",
        "redis_url": f"unix://{folder / 'none.sock'}",
        "redis_prefix": "t:",
        "time_zone": "UTC",
        "offline_after_s": 300,
        "brokers": Brokers("broker:9092", "broker:1883"),
        "application": parts,
        "clock": MovableClock(to_ms(NOW)),
    }
    return create_app(**(arguments | more)), issued.token
