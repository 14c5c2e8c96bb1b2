"""The live feed: to everybody what they may see, bounded, over WebSocket and SSE."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import bearer
from tests.servers import World


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


def documents(device_id: str, *numbers: int) -> list[bytes]:
    return [json.dumps({"device_id": device_id, "seq": number, "power_w": 1.5}).encode() for number in numbers]


def live_url(api: ApiCorner, query: str = "") -> str:
    return f"{api.base_url.replace('http', 'ws')}/api/v1/live{query}"


async def hear(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        event: dict[str, Any] = json.loads(await socket.recv())
    return event


def listen(api: ApiCorner, query: str = "", **more: Any) -> connect:
    """A WebSocket of the owner's program."""
    return connect(live_url(api, query), additional_headers=bearer(api.token), **more)


async def until_subscribed(api: ApiCorner) -> None:
    """The API follows the channel, and knows the devices of these tests."""
    api.members.register(api.owner.tenant_id, "kettle", "tv", "fridge", "d")
    await api.services.deciding.follower.catch_up()
    await until_following(api)


async def until_following(api: ApiCorner) -> None:
    async with asyncio.timeout(10):
        while not api.services.feed.following:
            await asyncio.sleep(0.01)


async def test_a_websocket_hears_readings_and_presence_as_they_are_projected(api: ApiCorner) -> None:
    await until_subscribed(api)
    async with listen(api) as socket:
        assert (await hear(socket))["type"] == "hello"
        await api.publish("readings", documents("kettle", 1, 2))
        readings = await hear(socket)
        assert (readings["type"], [item["seq"] for item in readings["items"]]) == ("readings", [1, 2])
        await api.publish("presence", [b'{"device_id":"kettle","online":false,"at":"2026-10-26T09:00:00Z"}'])
        assert (await hear(socket))["items"][0]["online"] is False


async def test_a_filter_lets_only_its_devices_through(api: ApiCorner) -> None:
    await until_subscribed(api)
    async with listen(api, "?device=kettle&device=tv") as socket:
        await hear(socket)
        await api.publish("readings", documents("fridge", 1))
        await api.publish("readings", documents("fridge", 2) + documents("tv", 3) + documents("kettle", 4))
        assert [item["seq"] for item in (await hear(socket))["items"]] == [3, 4]


async def test_a_page_from_elsewhere_may_not_listen(api: ApiCorner) -> None:
    await api.services.deciding.follower.catch_up()
    for origin in ("http://evil.example", "http://["):
        with pytest.raises(InvalidStatus) as refused:
            await listen(api, origin=origin)  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as wrong:
        await listen(api, "?device=a.b")
    assert wrong.value.response.status_code == 422
    assert wrong.value.response.headers["content-type"] == "application/problem+json"


async def test_a_slow_client_loses_its_oldest_and_slows_nobody(api: ApiCorner) -> None:
    await until_subscribed(api)
    batches, size = 400, 100
    async with listen(api, max_queue=1) as slow, listen(api) as quick:
        await hear(quick)
        padding = "x" * 1000
        for batch in range(batches):
            numbers = range(batch * size, (batch + 1) * size)
            items = [json.dumps({"device_id": "d", "seq": n, "pad": padding}).encode() for n in numbers]
            await api.publish("readings", items)
            heard = await hear(quick)
            assert [item["seq"] for item in heard["items"]] == list(numbers)
        received, missed = await drain(slow, until_seq=batches * size - 1)
    assert missed > 0
    assert received == sorted(received)
    assert received[-1] == batches * size - 1
    assert len(received) + missed == batches * size


async def drain(socket: ClientConnection, *, until_seq: int) -> tuple[list[int], int]:
    received: list[int] = []
    missed = 0
    while not received or received[-1] < until_seq:
        event = await hear(socket)
        if event["type"] == "missed":
            missed += event["count"]
        received += [item["seq"] for item in event.get("items", ())]
    return received, missed


async def sse_events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str | None, dict[str, Any]]]:
    name, event_id = "", None
    async for line in lines:
        member, _, value = line.partition(": ")
        if member == "event":
            name = value
        elif member == "id":
            event_id = value
        elif member == "data":
            yield name, event_id, json.loads(value)
            event_id = None


async def test_sse_says_the_same_and_goes_on_after_the_last_event_id(api: ApiCorner) -> None:
    await until_subscribed(api)
    async with api.client.stream("GET", "/api/v1/live/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = sse_events(answer.aiter_lines())
        assert (await anext(events))[0] == "hello"
        await api.publish("readings", documents("kettle", 1))
        name, last_id, data = await anext(events)
        assert (name, data["type"], data["items"][0]["seq"]) == ("readings", "readings", 1)
    assert last_id is not None
    await api.publish("readings", documents("kettle", 2, 3))
    async with listen(api, f"?last_event_id={last_id}") as socket:
        await hear(socket)
        assert [item["seq"] for item in (await hear(socket))["items"]] == [2, 3]
    async with api.client.stream("GET", "/api/v1/live/events", headers={"Last-Event-ID": last_id}) as answer:
        events = sse_events(answer.aiter_lines())
        assert (await anext(events))[0] == "hello"
        assert [item["seq"] for item in (await anext(events))[2]["items"]] == [2, 3]


@pytest.mark.parametrize("stale", ["deadbeef-3", "nonsense", "-", "deadbeef-99999999"])
async def test_an_unknown_last_event_id_is_told_that_something_was_missed(api: ApiCorner, stale: str) -> None:
    await api.services.deciding.follower.catch_up()
    async with listen(api, f"?last_event_id={stale}") as socket:
        assert (await hear(socket))["type"] == "hello"
        assert await hear(socket) == {"type": "missed", "count": None}


@pytest.mark.parametrize("digits", [19, 90, 5000])
async def test_a_last_event_id_that_no_process_can_reach_is_as_unknown_over_both(api: ApiCorner, digits: int) -> None:
    await api.services.deciding.follower.catch_up()
    async with listen(api) as socket:
        process = (await hear(socket))["id"].partition("-")[0]
    impossible = f"{process}-{'9' * digits}"
    async with listen(api, f"?last_event_id={impossible}") as socket:
        assert (await hear(socket))["type"] == "hello"
        assert await hear(socket) == {"type": "missed", "count": None}
    async with api.client.stream("GET", "/api/v1/live/events", headers={"Last-Event-ID": impossible}) as answer:
        events = sse_events(answer.aiter_lines())
        assert [(await anext(events))[0] for _ in range(2)] == ["hello", "missed"]


async def test_what_is_not_a_live_message_disturbs_nobody(api: ApiCorner) -> None:
    await until_subscribed(api)
    async with listen(api) as socket:
        await hear(socket)
        for nonsense in (b"", b"{", b"[]", b'{"type":"readings"}', b"\xff\xfe"):
            await api.redis.publish(f"{api.prefix}live", nonsense)
        await api.publish("readings", documents("kettle", 7))
        assert (await hear(socket))["items"][0]["seq"] == 7


async def test_after_redis_was_away_clients_are_told_and_go_on(api: ApiCorner) -> None:
    await until_subscribed(api)
    async with listen(api) as socket:
        await hear(socket)
        await api.redis.client_kill_filter(_type="pubsub")
        assert await hear(socket) == {"type": "missed", "count": None}
        # Whoever hears that asks `latest` again: from this moment on the feed must carry everything.
        await api.publish("readings", documents("kettle", 8))
        assert (await hear(socket))["items"][0]["seq"] == 8


async def test_a_client_that_leaves_is_forgotten(api: ApiCorner) -> None:
    await api.services.deciding.follower.catch_up()
    async with listen(api) as socket:
        await hear(socket)
        assert await live_clients(api.client) == 1
    async with asyncio.timeout(10):
        while await live_clients(api.client) != 0:
            await asyncio.sleep(0.01)


async def live_clients(client: httpx.AsyncClient, transport: str = "websocket") -> float:
    page = (await client.get("/metrics")).text
    family = next(f for f in text_string_to_metric_families(page) if f.name == "wattaway_api_live_clients")
    return sum(sample.value for sample in family.samples if sample.labels["transport"] == transport)
