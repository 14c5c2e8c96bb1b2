"""Who is forgotten stands nowhere any more, while everything else goes on and can still be rebuilt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import select

from projections.dialect import read_engine
from projections.rebuild import rebuild
from projections.tables import read_model
from tests.contract.api.members import Member, bearer
from tests.contract.chain.asking import audited, in_pages, saying, whole_audit
from tests.contract.chain.places import TOPICS, all_places, found_in, log_ends
from tests.full_chain import FullChain, ask, eventually
from tests.projector_run import checked, options_of, source_of

pytestmark = [pytest.mark.embedded, pytest.mark.asyncio(loop_scope="package")]

ADDRESS = "127.77.13.9"
NAMED = ("quirin", ADDRESS)
"""Every personal text of his has his name in it."""


@dataclass
class Quirin:
    """Somebody with all that a person can have here."""

    user_id: str
    tenant_id: str
    kiln_id: str
    client: AsyncClient
    member: Member
    api_token: str
    kiln_token: str


async def quirin_of(chain: FullChain, olga: AsyncClient) -> Quirin:
    """He joins olga's tenant, founds his own, and is known by another name and email in the end."""
    path = f"tenants/{chain.olga.tenant_id}/invitations"
    invitation = await ask(olga, "POST", path, 201, json={"role": "operator"})
    first = Member("", "", "quirin@example.org", "quirin's long password")
    new = {"email": first.email, "name": "Quirin", "password": first.password, "invitation": invitation["token"]}
    await ask(chain.stranger(address=ADDRESS), "POST", "users", 202, json=new)
    client = await chain.person(first, address=ADDRESS)
    await ask(client, "PATCH", "account", 200, json={"email": "Quirinus@example.org", "name": "Quirinus Fürst"})
    home = await ask(client, "POST", "tenants", 201, json={"name": "Quirin's home"})
    kiln = {"device_id": chain.world.device_id("kiln"), "name": "Quirin's kiln", "location": "Quirin's cellar"}
    token = (await ask(client, "POST", f"tenants/{home['tenant_id']}/devices", 201, json=kiln))["token"]
    in_a_day = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    label = {"label": "Quirin's program", "scope": "manage", "expires_at": in_a_day}
    api_token = (await ask(client, "POST", "account/tokens", 201, json=label))["token"]
    member = Member("", "", "quirinus@example.org", first.password)
    user_id = (await ask(client, "GET", "account", 200))["user_id"]
    return Quirin(user_id, home["tenant_id"], kiln["device_id"], client, member, api_token, token)


async def act(chain: FullChain, quirin: Quirin, olga: AsyncClient, ben: AsyncClient, fan_id: str) -> None:
    """He switches, renames, shares, is given a share, is denied something, and mistypes his password."""
    client, email = quirin.client, quirin.member.email
    await ask(ben, "POST", f"devices/{fan_id}/shares", 202, json={"email": email, "permission": "switch"})
    await ask(client, "POST", f"devices/{chain.plug_id}/commands", 202, json={"type": "toggle"})
    await ask(client, "POST", f"devices/{fan_id}/commands", 202, json={"type": "toggle", "expires_in_s": 1})
    await ask(client, "PATCH", f"devices/{quirin.kiln_id}", 200, json={"location": "Quirin's attic"})
    share = {"email": chain.olga.email, "permission": "view"}
    await ask(client, "POST", f"devices/{quirin.kiln_id}/shares", 202, json=share)
    await ask(client, "GET", "audit", 403)
    wrong = {"email": email, "password": "quirin's wrong password"}
    await ask(chain.stranger(address=ADDRESS), "POST", "session", 401, json=wrong)
    await chain.person(quirin.member, address=ADDRESS)
    await eventually(audited(olga, saying("site.audit", "command-requested"), actor=f"user:{quirin.user_id}"))


async def of_others(chain: FullChain, olga: AsyncClient, ben: AsyncClient, quirin: Quirin) -> str:
    """What must not change for anybody else."""
    documents: list[Any] = []
    for client in (olga, ben):
        tenants = (await ask(client, "GET", "tenants", 200))["items"]
        documents += [await ask(client, "GET", "account", 200), *({**one, "members": None} for one in tenants)]
        documents += [one for one in await in_pages(client, "devices", 100) if one["device_id"] != quirin.kiln_id]
    members = (await ask(olga, "GET", f"tenants/{chain.olga.tenant_id}/members", 200))["items"]
    documents += [one for one in members if one["user_id"] != quirin.user_id]
    records = await in_pages(olga, "audit", 500)
    documents += [one for one in records if one["who"] in ("olga", "ben") and quirin.kiln_id not in str(one)]
    return json.dumps(documents, sort_keys=True)


async def test_a_forgotten_person_stands_nowhere_and_everything_else_goes_on(
    chain: FullChain, olga: AsyncClient
) -> None:
    log_starts = log_ends(chain)
    keeper = chain.sign_up("ben@example.org")
    fan_id = chain.world.device_id("fan")
    chain.world.register(keeper.tenant_id, [fan_id])
    ben = await chain.person(keeper)
    quirin = await quirin_of(chain, olga)
    await act(chain, quirin, olga, ben, fan_id)
    assert "Quirinus Fürst" in await whole_audit(olga) and ADDRESS in await whole_audit(olga)
    before = await of_others(chain, olga, ben, quirin)
    known = found_in(await all_places(chain, log_starts), *NAMED, quirin.api_token, quirin.kiln_token)
    assert known == set(), "sealed while he is known, too"
    await ask(quirin.client, "DELETE", "account", 204)
    await eventually(audited(olga, saying("user-forgotten"), subject=f"user:{quirin.user_id}"))
    await check_nobody_knows(chain, olga, ben, quirin, fan_id)
    places = await all_places(chain, log_starts)
    assert found_in(places, *NAMED, quirin.api_token, quirin.kiln_token) == set()
    # That is, the search finds what does stand there.
    assert found_in(places, quirin.user_id, chain.olga.user_id) >= {"redis", f"kafka {TOPICS[0]}", "events", "views"}
    await rebuild(source_of(chain.world), options_of(chain.world))
    found = await eventually(lambda: verified(chain))
    assert found.ok, str(found)
    assert found_in(await all_places(chain, log_starts), *NAMED) == set()
    await check_nobody_knows(chain, olga, ben, quirin, fan_id)
    assert await of_others(chain, olga, ben, quirin) == before


async def verified(chain: FullChain) -> Any:
    """The verdict, once nothing lags behind."""
    found = await checked(chain.world)
    return found if found.lag_records == 0 else None


async def check_nobody_knows(
    chain: FullChain, olga: AsyncClient, ben: AsyncClient, quirin: Quirin, fan_id: str
) -> None:
    """Neither the API nor the read models tell who he was, and nothing of his opens a door."""
    assert "quirin" not in (await whole_audit(olga)).lower() and ADDRESS not in await whole_audit(olga)
    records = (await ask(olga, "GET", "audit", 200, params={"actor": f"user:{quirin.user_id}"}))["items"]
    assert len(records) > 8 and all(one["who"] is None and one["origin"] is None for one in records)
    signed_up = (await ask(olga, "GET", "audit", 200, params={"subject": f"user:{quirin.user_id}"}))["items"][-1]
    assert (signed_up["actor"], signed_up["origin"]) == ("anonymous", "127.77.13.0/24"), "of a stranger then"
    assert (signed_up["after"]["name"], signed_up["after"]["email"]) == (None, None)
    (switched,) = [
        one
        for one in await in_pages(olga, f"devices/{chain.plug_id}/commands", 100)
        if one["actor"] == f"user:{quirin.user_id}"
    ]
    assert (switched["who"], switched["state"]) == (None, "acknowledged")
    assert (await ask(ben, "GET", f"devices/{fan_id}/shares", 200))["items"] == []
    members = (await ask(olga, "GET", f"tenants/{chain.olga.tenant_id}/members", 200))["items"]
    assert quirin.user_id not in {one["user_id"] for one in members}
    await ask(olga, "GET", f"devices/{quirin.kiln_id}", 404)
    for token in (quirin.api_token, quirin.kiln_token):
        await ask(chain.stranger(), "GET", "account", 401, headers=bearer(token))
    await ask(quirin.client, "GET", "account", 401)
    shown = {"email": quirin.member.email, "password": quirin.member.password}
    await ask(chain.stranger(), "POST", "session", 401, json=shown)
    check_read_models(chain, quirin, fan_id)


def check_read_models(chain: FullChain, quirin: Quirin, fan_id: str) -> None:
    """He is marked there as forgotten, nobody else is, and what was only his is out of use."""
    engine, tables = read_engine(chain.world.settings.resolved_database_url()), read_model().lifecycle
    users, devices, shares = tables.users.c, tables.registered_devices.c, tables.device_shares.c
    with engine.connect() as connection:
        asked = connection.execute(select(users.user_id, users.forgotten)).all()
        forgotten = {user_id for user_id, is_forgotten in asked if is_forgotten}
        assert quirin.user_id in forgotten and chain.olga.user_id not in forgotten
        shared_with = select(shares.user_id).where(shares.device_id == fan_id)
        assert set(connection.scalars(shared_with)) <= forgotten
        ended = select(devices.decommissioned_at_ms).where(devices.device_id == quirin.kiln_id)
        assert connection.scalars(ended).one() is not None
    engine.dispose()
