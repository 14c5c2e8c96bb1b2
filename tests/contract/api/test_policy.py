"""Every route, asked by everybody there is, answers as the policy table says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.deciding import REAUTHENTICATED_FOR
from api.protection import Protection
from domain.lifecycle.policy import POLICY, REAUTHENTICATION, SCOPE_NEEDED, SESSION_ONLY, Action, Grant
from tests.contract.api.askers import KINDS, Cast, Kind, asked
from tests.contract.api.corner import ApiCorner
from tests.contract.api.route_table import ROUTES, VARIANTS, Route, registered
from tests.contract.api.stranded import stranded_app
from tests.servers import World

RANK = {"read": 0, "control": 1, "manage": 2}


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


@pytest.fixture
def protection() -> Protection:
    often = dict.fromkeys(("tokens", "users", "devices", "strangers", "sign-in", "sign-up", "set-up"), "99999/minute")
    return Protection(rate_limits=often)  # type: ignore[arg-type]


@pytest.fixture
async def cast(api: ApiCorner) -> AsyncIterator[Cast]:
    cast = Cast(api)
    yield cast
    await cast.close()


def expected(route: Route, kind: Kind) -> str:
    """What the table says: allowed, denied (403), hidden (404) or unknown (401)."""
    if route.action is None:
        return "allowed"
    is_device = kind.name.startswith("device")
    if kind.name == "nobody" or (route.action == "session" and (kind.scope or is_device)):
        return "unknown"
    if route.action == "session" or (route.thing == "own" and is_device):
        return "allowed"
    seen: dict[str, frozenset[Grant]] = {
        "device": POLICY["device.see"] | POLICY["device.act_as"],
        "tenant": POLICY["tenant.see"],
        "left tenant": POLICY["tenant.see"],
    }
    if route.thing in seen and not kind.grants & seen[route.thing]:
        return "hidden"
    actions: list[Any] = route.action.split("|")
    return "allowed" if any(_permits(action, kind) for action in actions) else "denied"


def _permits(action: Action, kind: Kind) -> bool:
    if not kind.grants & POLICY[action]:
        return False
    return kind.scope is None or (action not in SESSION_ONLY and RANK[kind.scope] >= RANK[SCOPE_NEEDED[action]])


def answered(answer: httpx.Response) -> str:
    """Which of those an answer is."""
    if answer.status_code in (401, 403) and not answer.content:
        return "unknown" if answer.status_code == 401 else "denied"
    said = answer.json() if "problem" in answer.headers.get("content-type", "") and answer.content else {}
    kind = said.get("type", "")
    if answer.status_code == 401 and kind != "/problems/wrong-credentials":
        return "unknown"
    if answer.status_code == 403 and kind in ("/problems/forbidden", "/problems/scope"):
        return "denied"
    if answer.status_code == 404 and kind in ("/problems/unknown-device", "/problems/unknown-tenant"):
        return "hidden"
    assert answer.status_code < 500, said
    assert kind != "/problems/csrf", said
    assert said.get("detail") != "nothing is at this address", said
    return "allowed"


def ids_of(cast: Cast, route: Route, kind: Kind) -> dict[str, Any]:
    """What stands in the route's path."""
    tenant_id = cast.left_tenant_id if route.thing == "left tenant" else cast.tenant_id
    return {**cast.ids_for(kind), "tenant_id": tenant_id, "device_id": cast.device_id}


async def ask(cast: Cast, name: str, route: Route, kind: Kind) -> str | None:
    """What is wrong with the answer, if anything is."""
    method, path = name.partition(" #")[0].split(" ")
    ids = ids_of(cast, route, kind)
    if route.destroys and route.thing == "device" and kind.name != "device":
        ids["device_id"] = cast.new_device(f"lamp-{method.lower()}-{kind.name}".translate({58: 45, 39: 45, 32: 45}))
        await cast.api.services.deciding.follower.catch_up()
    async with asked(await cast.client(kind), method, path.format(**ids), route.body) as answer:
        got = answered(answer)
    if name == "DELETE /api/v1/session":
        await cast.client(kind, fresh=True)
    if got == expected(route, kind):
        return None
    return f"{name} by {kind.name}: {got} ({answer.status_code}), not {expected(route, kind)}"


async def test_every_route_answers_every_asker_as_the_table_says(cast: Cast) -> None:
    await cast.api.services.deciding.follower.catch_up()
    wrong: list[str | None] = []
    # Last what ends users.
    for name, route in sorted((VARIANTS | ROUTES).items(), key=lambda row: row[0] == "DELETE /api/v1/account"):
        asking = [ask(cast, name, route, kind) for kind in KINDS]
        if route.destroys:
            wrong += [await one for one in asking]
        else:
            wrong += await asyncio.gather(*asking)
    assert not any(wrong), "\n".join(filter(None, wrong))


async def ask_too_late(cast: Cast, name: str, route: Route, kind: Kind) -> str | None:
    """What is wrong with the answer to a session that has not shown its password lately."""
    method, path = name.partition(" #")[0].split(" ")
    is_dangerous = not REAUTHENTICATION.isdisjoint((route.action or "").split("|"))
    async with asked(await cast.client(kind), method, path.format(**ids_of(cast, route, kind)), route.body) as answer:
        is_problem = "problem" in answer.headers.get("content-type", "") and bool(answer.content)
        is_refused = is_problem and answer.json()["type"] == "/problems/reauthentication-needed"
    return None if is_refused is is_dangerous else f"{name} by {kind.name}: refused {is_refused}"


async def test_a_session_does_what_is_dangerous_only_shortly_after_its_password_was_shown(cast: Cast) -> None:
    await cast.api.services.deciding.follower.catch_up()
    people = [kind for kind in KINDS if kind.name in cast.people]
    for kind in people:
        await cast.client(kind)
    cast.api.clock.at_ms += int(REAUTHENTICATED_FOR / timedelta(milliseconds=1)) + 1
    walked, wrong = set(), []
    for name, route in (VARIANTS | ROUTES).items():
        allowed = [kind for kind in people if expected(route, kind) == "allowed"]
        if name != "DELETE /api/v1/session":
            wrong += await asyncio.gather(*(ask_too_late(cast, name, route, kind) for kind in allowed))
            walked |= set((route.action or "").split("|")) if allowed else set()
    assert not any(wrong), "\n".join(filter(None, wrong))
    assert walked >= REAUTHENTICATION


def test_every_route_has_its_row_and_a_new_one_needs_one(tmp_path: Path) -> None:
    app, _ = stranded_app(tmp_path)
    assert registered(app) == set(ROUTES), registered(app) ^ set(ROUTES)
    app.add_api_route("/api/v1/new", lambda: None, methods=["POST"], include_in_schema=False)
    app.add_api_websocket_route("/new", lambda: None)
    app.mount("/files", lambda: None)
    assert registered(app) - set(ROUTES) == {"POST /api/v1/new", "WEBSOCKET /new", "WEBSOCKET /files"}
