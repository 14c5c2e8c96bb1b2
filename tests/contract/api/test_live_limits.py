"""Nobody keeps others from the live feed: not by many connections, and not by never reading."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api import live, server
from api.routes import live as routes
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import bearer
from tests.contract.api.test_live import documents, hear, listen, live_clients, until_subscribed
from tests.servers import World


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


async def test_one_user_has_a_bounded_number_of_live_connections(
    api: ApiCorner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_CLIENTS_EACH", 2)
    other = api.program(api.members.token_of(api.members.sign_up("other")))
    await until_subscribed(api)
    async with listen(api) as first, api.client.stream("GET", "/api/v1/live/events") as second:
        await hear(first)
        lines = second.aiter_lines()
        await anext(lines)
        refused = await api.client.get("/api/v1/live/events")
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-live-connections")
        assert int(refused.headers["retry-after"]) > 0
        with pytest.raises(InvalidStatus) as no_socket:
            await listen(api)
        assert no_socket.value.response.status_code == 429
        async with other.stream("GET", "/api/v1/live/events") as answer:
            assert answer.status_code == 200
    async with asyncio.timeout(10):
        while await live_clients(api.client, "sse") != 0:
            await asyncio.sleep(0.01)
    async with listen(api) as again:
        assert (await hear(again))["type"] == "hello"


async def test_who_was_let_in_beside_others_at_the_same_moment_is_counted_again(
    api: ApiCorner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_CLIENTS_EACH", 1)
    monkeypatch.setattr(routes, "_allow_one_more", lambda *_: None)
    await until_subscribed(api)
    async with listen(api) as first, listen(api) as second:
        assert [(await hear(one))["type"] for one in (first, second)] == ["hello", "hello"]
        with pytest.raises(ConnectionClosed):
            await hear(second)
        await api.publish("readings", documents("kettle", 1))
        assert (await hear(first))["items"][0]["seq"] == 1


async def test_a_stream_that_nobody_reads_is_ended(api: ApiCorner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALLED_AFTER_S", 0.5)
    await until_subscribed(api)
    host, _, port = api.base_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as deaf:
        head = "".join(f"{name}: {value}\r\n" for name, value in bearer(api.token).items())
        deaf.sendall(f"GET /api/v1/live/events HTTP/1.1\r\nHost: {host}\r\n{head}\r\n".encode())
        async with asyncio.timeout(10):
            while await live_clients(api.client, "sse") != 1:
                await asyncio.sleep(0.01)
        items = [json.dumps({"device_id": "d", "seq": n, "pad": "x" * 10_000}).encode() for n in range(100)]
        async with asyncio.timeout(30):
            while await live_clients(api.client, "sse") != 0:
                await api.publish("readings", items)
