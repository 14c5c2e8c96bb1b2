"""Every kind of denied attempt of somebody or at something that is known comes to the auditors, once a minute."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.deciding import REAUTHENTICATED_FOR
from domain.lifecycle.denials import Denial
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import Member
from tests.servers import World

Noted = tuple[str, str, str, str]
NEW = {"email": "ann@example.org", "name": "Ann", "password": "a very long password"}
NO_INVITATION = "wai_" + "0" * 64


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


async def noted(api: ApiCorner) -> list[Noted]:
    """Actor's kind, action, subject and reason of what was denied."""
    await api.services.deciding.denials.drain()
    lifecycle = api.members.application.lifecycle
    topics = [Denial.Denied.TOPIC]
    found = lifecycle.log_recorder.select_notifications(1, 1000, topics=topics)
    denied = [lifecycle.mapper.to_domain_event(one) for one in found]
    return [(one.actor.partition(":")[0], one.action, one.subject, one.reason) for one in denied]


async def refused(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> None:
    """Ask twice for what is denied."""
    for _ in range(2):
        answer = await client.request(method, f"/api/v1/{path}", **more)
        assert answer.status_code in (401, 403, 404), answer.text


async def deny_a_foreign_page(api: ApiCorner, bob: Member) -> None:
    person = await api.person(bob)
    for headers in ({"X-CSRF-Token": "x"}, {"Origin": "https://evil.example"}):
        await refused(person, "POST", "tenants", json={"name": "x"}, headers=headers)


async def deny_an_old_session(api: ApiCorner, bob: Member) -> None:
    api.members.register(bob.tenant_id, "lamp")
    person = await api.person(bob)
    await refused(person, "GET", "device")
    api.clock.at_ms += int(REAUTHENTICATED_FOR / timedelta(milliseconds=1)) + 1
    await refused(person, "DELETE", "account")
    await refused(person, "DELETE", "devices/lamp")
    await refused(person, "GET", f"tenants/{bob.tenant_id}/invitations")


async def deny_ended_tokens(api: ApiCorner, bob: Member) -> None:
    revoked, expired = api.members.token_of(bob), api.members.token_of(bob, lives=timedelta(minutes=1))
    await api.services.deciding.follower.catch_up()
    first = next(iter(api.services.deciding.access.users[bob.user_id].tokens))
    api.members.application.accounts.revoke_api_token(bob.user_id, first, api.members.cause())
    api.clock.at_ms += 60_001
    for token in (revoked, expired, "wat_" + "0" * 64):
        await refused(api.program(token), "GET", "devices")


async def deny_invitations(api: ApiCorner, bob: Member) -> None:
    old = api.members.application.tenancy.invite(api.owner.tenant_id, "viewer", api.members.cause()).token
    api.clock.at_ms += 8 * 86_400_000
    stranger, person = api.stranger(), await api.person(bob)
    await refused(stranger, "POST", "users", json=NEW)
    for token in (NO_INVITATION, old):
        await refused(stranger, "POST", "users", json=NEW | {"invitation": token})
        await refused(person, "POST", "invitations/accept", json={"token": token})


async def test_every_kind_of_denied_attempt_is_noted_once(api: ApiCorner) -> None:
    bob = api.members.sign_up("bob")
    him, theirs = f"user:{bob.user_id}", f"tenant:{api.owner.tenant_id}"
    for deny in (deny_a_foreign_page, deny_an_old_session, deny_ended_tokens, deny_invitations):
        await deny(api, bob)
    assert sorted(await noted(api)) == sorted(
        [
            ("user", "session.use", him, "csrf"),
            ("user", "device.act_as", him, "forbidden"),
            ("user", "account.change", "site", "reauthentication-needed"),
            ("user", "device.decommission", "device:lamp", "reauthentication-needed"),
            ("user", "tenant.manage_members", f"tenant:{bob.tenant_id}", "reauthentication-needed"),
            ("token", "token.use", him, "revoked"),
            ("token", "token.use", him, "expired"),
            ("anonymous", "site.sign_up", "site", "invitation-needed"),
            ("anonymous", "site.sign_up", "site", "unknown-invitation"),
            ("anonymous", "site.sign_up", theirs, "unknown-invitation"),
            ("user", "account.join_tenant", "site", "unknown-invitation"),
            ("user", "account.join_tenant", theirs, "unknown-invitation"),
        ]
    )
