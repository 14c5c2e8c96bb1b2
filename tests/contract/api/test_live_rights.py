"""The live feed carries what its viewer may see at that moment, and ends when the right to it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import bearer
from tests.contract.api.test_live import documents, hear, live_url, until_following
from tests.servers import World
from tests.unit import lifecycle_parts

WITHIN_S = 2.0


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


@pytest.fixture
async def shared(api: ApiCorner) -> tuple[ApiCorner, str, str]:
    """A guest, with whom the owner shares one of two devices, and a token of theirs."""
    api.members.register(api.owner.tenant_id, "kettle", "tv")
    guest = api.members.sign_up("guest")
    api.members.application.sockets.share("kettle", guest.user_id, "view", api.members.cause())
    token = api.members.token_of(guest)
    await api.services.deciding.follower.catch_up()
    await until_following(api)
    return api, guest.user_id, token


def cookie_of(client: httpx.AsyncClient) -> dict[str, str]:
    return {"Cookie": f"wattaway_session={client.cookies['wattaway_session']}"}


async def ends_with(socket: ClientConnection, code: int, *, since_s: float) -> None:
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(WITHIN_S):
            while True:
                await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    assert time.monotonic() - since_s < WITHIN_S


async def hear_items(socket: ClientConnection) -> list[Any]:
    """The next items, whatever else is said before them."""
    while "items" not in (event := await hear(socket)):
        assert event["type"] == "sight"
    items: list[Any] = event["items"]
    return items


async def test_a_viewer_hears_of_the_devices_they_may_see_alone(shared: tuple[ApiCorner, str, str]) -> None:
    api, guest_id, token = shared
    async with connect(live_url(api, "?device=kettle&device=tv"), additional_headers=bearer(token)) as socket:
        await hear(socket)
        await api.publish("readings", documents("tv", 1) + documents("kettle", 2))
        assert [item["seq"] for item in (await hear(socket))["items"]] == [2]
        api.members.application.sockets.share("tv", guest_id, "view", api.members.cause())
        await api.services.deciding.follower.catch_up()
        await api.publish("readings", documents("tv", 3))
        assert [item["seq"] for item in await hear_items(socket)] == [3]
        api.members.application.sockets.unshare("kettle", guest_id, api.members.cause())
        await api.services.deciding.follower.catch_up()
        await api.publish("readings", documents("kettle", 4) + documents("tv", 5))
        assert [item["seq"] for item in await hear_items(socket)] == [5]


async def test_a_viewer_is_told_when_they_may_see_other_devices(shared: tuple[ApiCorner, str, str]) -> None:
    api, guest_id, token = shared
    sockets, cause = api.members.application.sockets, api.members.cause
    async with connect(live_url(api), additional_headers=bearer(token)) as socket:
        assert (await hear(socket))["type"] == "hello"
        sockets.share("tv", guest_id, "view", cause())
        assert (await hear(socket))["type"] == "sight"
        sockets.share("tv", guest_id, "switch", cause())
        sockets.unshare("tv", guest_id, cause())
        assert (await hear(socket))["type"] == "sight"
        await api.publish("readings", documents("kettle", 1))
        assert (await hear(socket))["type"] == "readings", "and of nothing else"


async def test_what_is_remembered_is_shown_only_to_whoever_may_see_it_now(shared: tuple[ApiCorner, str, str]) -> None:
    api, _, token = shared
    async with connect(live_url(api), additional_headers=bearer(token)) as socket:
        first = (await hear(socket))["id"]
        await api.publish("readings", documents("tv", 1) + documents("kettle", 2))
        await hear(socket)
    async with connect(live_url(api, f"?last_event_id={first}"), additional_headers=bearer(token)) as socket:
        await hear(socket)
        assert [item["seq"] for item in (await hear(socket))["items"]] == [2]


async def test_it_ends_with_the_last_right_to_a_device(shared: tuple[ApiCorner, str, str]) -> None:
    api, guest_id, token = shared
    async with connect(live_url(api), additional_headers=bearer(token)) as socket:
        await hear(socket)
        since_s = time.monotonic()
        api.members.application.sockets.unshare("kettle", guest_id, api.members.cause())
        await ends_with(socket, 4403, since_s=since_s)


def revoke(api: ApiCorner, guest_id: str) -> None:
    accounts = api.members.application.accounts
    [token_id] = api.services.deciding.access.users[guest_id].tokens
    accounts.revoke_api_token(guest_id, token_id, api.members.cause())


def forget(api: ApiCorner, guest_id: str) -> None:
    lifecycle_parts.forget(api.members.application, guest_id)


def outlive(api: ApiCorner, guest_id: str) -> None:
    api.clock.at_ms += 31 * 86_400_000


@pytest.mark.parametrize("end", [revoke, forget, outlive])
async def test_it_ends_with_the_token(
    shared: tuple[ApiCorner, str, str], end: Callable[[ApiCorner, str], None]
) -> None:
    api, guest_id, token = shared
    async with (
        connect(live_url(api), additional_headers=bearer(token)) as socket,
        api.program(token).stream("GET", "/api/v1/live/events") as stream,
    ):
        await hear(socket)
        since_s = time.monotonic()
        end(api, guest_id)
        await ends_with(socket, 4401, since_s=since_s)
        async with asyncio.timeout(WITHIN_S):
            async for _ in stream.aiter_lines():
                pass


async def test_it_ends_with_the_session(api: ApiCorner) -> None:
    person = await api.person()
    async with connect(live_url(api), additional_headers=cookie_of(person)) as socket:
        await hear(socket)
        since_s = time.monotonic()
        await person.delete("/api/v1/session")
        await ends_with(socket, 4401, since_s=since_s)


async def test_it_ends_with_the_password(api: ApiCorner) -> None:
    person = await api.person()
    async with connect(live_url(api), additional_headers=cookie_of(person)) as socket:
        await hear(socket)
        since_s = time.monotonic()
        api.members.application.accounts.change_password(
            api.owner.user_id, "another long password", api.members.cause()
        )
        await ends_with(socket, 4401, since_s=since_s)


async def test_who_may_not_listen_is_told_before_it_begins(api: ApiCorner, caplog: pytest.LogCaptureFixture) -> None:
    person = await api.person()
    evil: dict[str, Any] = {"origin": "https://evil.example", "additional_headers": cookie_of(person)}
    api.add_device("kettle")
    await api.services.deciding.follower.catch_up()
    device: dict[str, Any] = {"additional_headers": bearer(api.members.device_tokens["kettle"])}
    wrong: dict[str, Any] = {"additional_headers": bearer("wat_" + "0" * 64)}
    for arguments, status in (({}, 401), (wrong, 401), (device, 403), (evil, 403)):
        with pytest.raises(InvalidStatus) as refused:
            await connect(live_url(api), **arguments)
        response = refused.value.response
        assert response.status_code == status
        assert json.loads(response.body or b"{}")["status"] == status
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    own: dict[str, Any] = {"origin": api.base_url, "additional_headers": cookie_of(person)}
    async with connect(live_url(api), **own) as socket:
        assert (await hear(socket))["type"] == "hello"
