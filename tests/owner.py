"""Somebody who may ask a test's API about the test's devices."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from domain.lifecycle.cause import system_cause
from domain.lifecycle.users import Scope
from ops.application import open_application
from tests.servers import World


def owner_headers(world: World, device_ids: Iterable[str], *, scope: Scope = "read") -> dict[str, str]:
    """What the owner's program says with each request; the devices are registered in the owner's tenant."""
    cause = system_cause("test", datetime.now(UTC))
    with open_application(world.settings) as application:
        owner = application.accounts.sign_up(
            cause, email="olga@example.org", name="Olga", password="olga's password", tenant_name="Olga's"
        )
        assert owner.tenant_id is not None
        world.register(owner.tenant_id, device_ids)
        expires_at = cause.at + timedelta(days=1)
        issued = application.accounts.issue_api_token(
            owner.user_id, cause, label="test", scope=scope, expires_at=expires_at
        )
    return {"Authorization": f"Bearer {issued.token}"}
