"""One's own account, tenants and their members, the site's admins; and nobody gets at what is not theirs."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import MetaData, create_engine, select

from api.schemas_accounts import Account, IssuedApiToken, IssuedInvitation, Tenant
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import sign_in
from tests.servers import World


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


async def ask(client: httpx.AsyncClient, method: str, path: str, status: int, **more: Any) -> Any:
    answer = await client.request(method, f"/api/v1/{path}", **more)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


# --- one's own account ------------------------------------------------------------------------------------


async def test_one_changes_ones_own_name_and_email(api: ApiCorner) -> None:
    person = await api.person()
    changed = await ask(person, "PATCH", "account", 200, json={"name": "Olga", "email": "o@example.org"})
    Account.model_validate(changed)
    assert (changed["name"], changed["email"], changed["admin"]) == ("Olga", "o@example.org", True)
    api.members.sign_up("bob")
    problem = await ask(person, "PATCH", "account", 409, json={"email": "bob@example.org"})
    assert problem["type"] == "/problems/name-taken"
    assert (await ask(person, "GET", "account", 200))["email"] == "o@example.org"


async def test_another_password_ends_all_other_sessions(api: ApiCorner) -> None:
    here, elsewhere = await api.person(), await api.person()
    await ask(here, "PUT", "account/password", 204, json={"password": "another long password"})
    await ask(here, "GET", "account", 200)
    await ask(elsewhere, "GET", "account", 401)
    old = {"email": api.owner.email, "password": api.owner.password}
    await ask(api.stranger(), "POST", "session", 401, json=old)
    await ask(here, "PUT", "account/password", 422, json={"password": "short"})


async def test_an_api_token_is_shown_once_and_ends_when_it_is_revoked(api: ApiCorner) -> None:
    person = await api.person()
    wished = {"label": "script", "scope": "read", "expires_at": "2026-12-01T00:00:00Z"}
    issued = IssuedApiToken.model_validate(await ask(person, "POST", "account/tokens", 201, json=wished))
    program = api.program(issued.token)
    await ask(program, "GET", "account", 200)
    listed = await ask(person, "GET", "account/tokens", 200)
    assert issued.token not in json.dumps(listed)
    assert "script" in {item["label"] for item in listed["items"]}
    await ask(program, "DELETE", f"account/tokens/{issued.token_id}", 403)
    await ask(person, "DELETE", f"account/tokens/{issued.token_id}", 204)
    await ask(program, "GET", "account", 401)
    for expires_at, status in (("2020-01-01T00:00:00Z", 409), ("2099-01-01T00:00:00Z", 409), ("tomorrow", 422)):
        await ask(person, "POST", "account/tokens", status, json=wished | {"expires_at": expires_at})


async def test_what_is_dangerous_asks_for_the_password_once_more(api: ApiCorner) -> None:
    person = await api.person()
    api.clock.at_ms += 11 * 60_000
    problem = await ask(person, "PATCH", "account", 403, json={})
    assert problem["type"] == "/problems/reauthentication-needed"


async def test_a_forgotten_person_is_nowhere_to_be_read(api: ApiCorner, world: World) -> None:
    cynthia = api.members.sign_up("cynthia")
    api.members.register(cynthia.tenant_id, "kettle")
    person = await api.person(cynthia)
    await ask(person, "PATCH", "account", 200, json={"name": "Cynthia Secretname", "email": "cynthia@secret.example"})
    await ask(person, "PATCH", "devices/kettle", 200, json={"name": "Cynthias kettle", "location": "Secret street"})
    wished = {"label": "cynthias script", "scope": "read", "expires_at": "2026-12-01T00:00:00Z"}
    await ask(person, "POST", "account/tokens", 201, json=wished)
    await ask(person, "DELETE", "account", 204)
    await ask(person, "GET", "account", 401)
    access = api.services.deciding.access
    assert cynthia.user_id not in access.users
    assert not access.devices["kettle"].commissioned
    assert api.services.deciding.people.device_name(access.devices["kettle"]) is None
    # Whoever reads every byte that is stored finds nothing in clear, before and after.
    stored = _everything(world.settings.resolved_event_store_url())
    assert len(stored) > 1000
    assert "ynthia" not in stored
    assert "ecret street" not in stored
    again = {"email": "cynthia@secret.example", "password": cynthia.password}
    await ask(api.stranger(), "POST", "session", 401, json=again)


def _everything(url: str) -> str:
    """Every value of every table."""
    engine, tables = create_engine(url), MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = [row for table in tables.tables.values() for row in connection.execute(select(table)).all()]
    engine.dispose()
    return repr(rows)


async def test_the_last_admin_and_the_last_owner_hand_over_first(api: ApiCorner) -> None:
    person = await api.person()
    assert (await ask(person, "DELETE", "account", 409))["type"] == "/problems/last-admin"
    bob = api.members.sign_up("bob")
    await ask(person, "PUT", f"site/admins/{bob.user_id}", 204)
    api.members.application.tenancy.add_member(api.owner.tenant_id, bob.user_id, "viewer", api.members.cause())
    assert (await ask(person, "DELETE", "account", 409))["type"] == "/problems/last-owner"
    members = f"tenants/{api.owner.tenant_id}/members"
    assert (await ask(person, "DELETE", f"{members}/{api.owner.user_id}", 409))["type"] == "/problems/last-owner"
    problem = await ask(person, "PATCH", f"{members}/{api.owner.user_id}", 409, json={"role": "viewer"})
    assert problem["type"] == "/problems/last-owner"
    await ask(person, "PATCH", f"{members}/{bob.user_id}", 204, json={"role": "owner"})
    await ask(person, "DELETE", "account", 204)
    assert api.services.deciding.access.admins == {bob.user_id}


# --- tenants ----------------------------------------------------------------------------------------------


async def test_an_invitation_makes_one_member_once(api: ApiCorner) -> None:
    bob, eve = api.members.sign_up("bob"), api.members.sign_up("eve")
    path = f"tenants/{api.owner.tenant_id}/invitations"
    issued = IssuedInvitation.model_validate(await ask(api.client, "POST", path, 201, json={"role": "operator"}))
    listed = await ask(api.client, "GET", path, 200)
    assert [item["invitation_id"] for item in listed["items"]] == [issued.invitation_id]
    assert issued.token not in json.dumps(listed)
    person = await api.person(bob)
    joined = await ask(person, "POST", "invitations/accept", 200, json={"token": issued.token})
    assert joined == {"tenant_id": api.owner.tenant_id, "role": "operator"}
    problem = await ask(await api.person(eve), "POST", "invitations/accept", 404, json={"token": issued.token})
    assert problem["type"] == "/problems/unknown-invitation"
    members = await ask(person, "GET", f"tenants/{api.owner.tenant_id}/members", 200)
    assert {(one["name"], one["email"], one["role"]) for one in members["items"]} == {
        ("olga", None, "owner"),
        ("bob", None, "operator"),
    }
    await ask(person, "DELETE", f"tenants/{api.owner.tenant_id}/members/{bob.user_id}", 204)
    await ask(person, "GET", f"tenants/{api.owner.tenant_id}", 404)


async def test_an_invitation_that_was_taken_back_or_is_too_old_counts_no_more(api: ApiCorner) -> None:
    person = await api.person(api.members.sign_up("bob"))
    path = f"tenants/{api.owner.tenant_id}/invitations"
    first, second = [await ask(api.client, "POST", path, 201, json={"role": "viewer"}) for _ in range(2)]
    await ask(api.client, "DELETE", f"{path}/{first['invitation_id']}", 204)
    await ask(person, "POST", "invitations/accept", 404, json={"token": first["token"]})
    api.clock.at_ms += 8 * 86_400_000
    await sign_in(person, api.members.sign_up("carl"))
    await ask(person, "POST", "invitations/accept", 404, json={"token": second["token"]})
    assert (await ask(await api.person(), "GET", path, 200))["items"] == []


async def test_a_tenant_is_founded_and_renamed(api: ApiCorner) -> None:
    founded = Tenant.model_validate(await ask(api.client, "POST", "tenants", 201, json={"name": "Shop"}))
    assert (founded.name, founded.role, founded.members) == ("Shop", "owner", 1)
    renamed = await ask(api.client, "PATCH", f"tenants/{founded.tenant_id}", 200, json={"name": "Store"})
    assert renamed["name"] == "Store"
    assert {item["name"] for item in (await ask(api.client, "GET", "tenants", 200))["items"]} == {
        "Store",
        "olga's home",
    }


async def test_a_tenant_has_as_many_devices_as_are_listed(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle", "tv", "fridge")
    person = await api.person()

    async def counts() -> set[int]:
        [listed] = (await ask(person, "GET", "tenants", 200))["items"]
        alone = await ask(person, "GET", f"tenants/{api.owner.tenant_id}", 200)
        devices = (await ask(person, "GET", "devices", 200))["items"]
        return {listed["devices"], alone["devices"], len(devices)}

    assert await counts() == {3}
    await ask(person, "DELETE", "devices/tv", 204)
    assert await counts() == {2}


# --- what is not one's own --------------------------------------------------------------------------------


async def test_anothers_things_are_not_there(api: ApiCorner) -> None:
    bob = api.members.sign_up("bob")
    api.members.register(api.owner.tenant_id, "kettle")
    issued = await ask(
        await api.person(),
        "POST",
        "account/tokens",
        201,
        json={"label": "x", "scope": "read", "expires_at": "2026-12-01T00:00:00Z"},
    )
    invitation = await ask(
        api.client, "POST", f"tenants/{api.owner.tenant_id}/invitations", 201, json={"role": "viewer"}
    )
    person = await api.person(bob)
    for method, path, body in (
        ("GET", "devices/kettle", None),
        ("PATCH", "devices/kettle", {"name": "Mine"}),
        ("DELETE", "devices/kettle", None),
        ("POST", "devices/kettle/token", None),
        ("GET", f"tenants/{api.owner.tenant_id}", None),
        ("PATCH", f"tenants/{api.owner.tenant_id}/members/{bob.user_id}", {"role": "owner"}),
        ("DELETE", f"account/tokens/{issued['token_id']}", None),
        # One's own tenant, another's invitation.
        ("DELETE", f"tenants/{bob.tenant_id}/invitations/{invitation['invitation_id']}", None),
        ("DELETE", f"tenants/{bob.tenant_id}/members/{api.owner.user_id}", None),
    ):
        await ask(person, method, path, 404, json=body)
    assert await api.get("devices/kettle")
    assert (await api.get("latest", device="kettle", status=200))["items"] == []


async def test_nobody_sets_what_is_not_theirs_to_set(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    person = await api.person()
    tenant = api.owner.tenant_id
    token = {"label": "x", "scope": "read", "expires_at": "2026-12-01T00:00:00Z"}
    for method, path, body in (
        ("PATCH", "account", {"admin": True}),
        ("PATCH", "account", {"user_id": api.owner.user_id}),
        ("POST", "account/tokens", token | {"token": "wat_" + "0" * 64}),
        ("POST", "account/tokens", token | {"user_id": api.owner.user_id}),
        ("POST", "tenants", {"name": "Shop", "tenant_id": tenant}),
        ("PATCH", f"tenants/{tenant}", {"name": "x", "owner_id": api.owner.user_id}),
        ("POST", f"tenants/{tenant}/devices", {"device_id": "d", "name": "x", "token": "0" * 64}),
        ("POST", f"tenants/{tenant}/invitations", {"role": "viewer", "expires_at": "2099-01-01T00:00:00Z"}),
        ("POST", f"tenants/{tenant}/invitations", {"role": "admin"}),
        ("PATCH", "devices/kettle", {"tenant_id": tenant}),
        ("PUT", "devices/kettle/configuration", {"config_version": 9}),
    ):
        problem = await ask(person, method, path, 422, json=body)
        assert problem["errors"], path


async def test_line_breaks_never_become_headers(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    forged = "x\r\nSet-Cookie: wattaway_session=forged"
    person = await api.person()
    for method, path, body in (
        ("PATCH", "account", {"name": forged}),
        ("PATCH", "account", {"email": f"a@b{forged}"}),
        ("POST", "tenants", {"name": forged}),
        ("PATCH", "devices/kettle", {"name": forged}),
        ("PATCH", "devices/kettle", {"location": forged}),
        ("POST", f"tenants/{api.owner.tenant_id}/devices", {"device_id": forged, "name": "x"}),
    ):
        await ask(person, method, path, 422, json=body)
    command = {"type": "toggle"}
    for key in (b"a b", b"\xc3\xa4", b"x" * 129, b"a\tb"):
        headers = {b"Idempotency-Key": key}
        await ask(api.client, "POST", "devices/kettle/commands", 422, json=command, headers=headers)
    for given in ("a b", "x" * 65, "<script>", "a;b"):
        answer = await api.client.get("/api/v1/account", headers={"X-Correlation-Id": given})
        assert answer.headers["x-correlation-id"] != given
    answer = await api.client.get("/api/v1/devices/x%0d%0aSet-Cookie:%20a=b")
    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers
