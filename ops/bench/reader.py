"""Somebody who may read what the benchmark's sockets measure."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from domain.lifecycle.cause import system_cause
from ops.application import open_application
from ops.registering import demo_tenant_id
from ops.settings import Settings


class Reader(NamedTuple):
    """A user and what proves it."""

    email: str
    password: str
    api_token: str


def new_reader(settings: Settings) -> Reader:
    """Somebody who may read the devices that `Way.tokens` has registered. Blocking."""
    email, password = f"{secrets.token_hex(4)}@bench.invalid", secrets.token_hex(16)
    cause = system_cause("bench", datetime.now(UTC))
    with open_application(settings) as application:
        user = application.accounts.sign_up(cause, email=email, name="bench", password=password, tenant_name=None)
        application.tenancy.add_member(demo_tenant_id(), user.user_id, "viewer", cause)
        expires_at = cause.at + timedelta(days=1)
        issued = application.accounts.issue_api_token(
            user.user_id, cause, label="bench", scope="read", expires_at=expires_at
        )
    return Reader(email, password, issued.token)
