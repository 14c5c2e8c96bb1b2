"""What a socket was told, by whom and why, and why its relay is as it is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal
from uuid import UUID

import pytest
from httpx import AsyncClient

from domain.lifecycle.cause import system_cause
from domain.lifecycle.commands import Command, Order, Why
from domain.wire import CommandReport, DeviceEventReport
from tests.command_run import RawSocket, raw_socket, until
from tests.contract.chain.asking import in_pages
from tests.full_chain import FullChain, ask, eventually

pytestmark = [pytest.mark.embedded, pytest.mark.asyncio(loop_scope="package")]


async def ended(client: AsyncClient, command: Any) -> Any:
    """The command's document, once it has come to its end."""

    async def look() -> Any:
        document = await ask(client, "GET", command["url"].removeprefix("/api/v1/"), 200)
        return document if document["ended_at"] is not None else None

    return await eventually(look)


async def commanded(client: AsyncClient, heater: RawSocket, order: Any, *, reason: str | None = None) -> Any:
    """A command asked for and answered by the socket, done or rejected."""
    command = await ask(client, "POST", f"devices/{heater.device_id}/commands", 202, json=order)
    await answered(heater, command["command_id"], reason)
    return await ended(client, command)


async def answered(heater: RawSocket, command_id: str, reason: str | None = None) -> None:
    await until(lambda: UUID(command_id) in heater.ids())
    result: Literal["done", "rejected"] = "done" if reason is None else "rejected"
    heater.say(CommandReport(command_id, result, relay=True if reason is None else None, reason=reason))


async def decided(chain: FullChain, heater: RawSocket, why: Why) -> None:
    """The same by what decides by itself."""
    cause = system_cause(why, datetime.now(UTC))
    expires_at = cause.at + timedelta(seconds=30)
    command = Command.request(heater.device_id, Order("switch", relay=True), cause, why=why, expires_at=expires_at)
    await asyncio.to_thread(chain.application.lifecycle.store, command)
    await answered(heater, str(command.id))


async def test_the_history_of_a_socket_and_why_it_switched(chain: FullChain, olga: AsyncClient) -> None:
    heater_id, on = chain.world.device_id("heater"), {"type": "switch", "relay": True}
    token = chain.world.register(chain.olga.tenant_id, [heater_id])[heater_id]
    heater = await raw_socket(chain.world, "heater", token=token)
    in_a_day = {"label": "Timer", "scope": "control", "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    program = chain.program((await ask(olga, "POST", "account/tokens", 201, json=in_a_day))["token"])
    done = await commanded(olga, heater, on)
    rejected = await commanded(program, heater, {"type": "toggle"}, reason="overheated")
    expired = await ended(
        olga, await ask(olga, "POST", f"devices/{heater_id}/commands", 202, json=on | {"expires_in_s": 1})
    )
    for why in ("schedule", "automation", "protection"):
        await decided(chain, heater, why)

    async def all_projected() -> Any:
        items = await in_pages(olga, f"devices/{heater_id}/commands", 2)
        return items if len(items) == 6 and all(one["ended_at"] for one in items) else None

    history = await eventually(all_projected)
    assert [one["why"] for one in history] == ["protection", "automation", "schedule", "user", "user", "user"]
    assert history[3:] == [expired, rejected, done]
    assert [(one["state"], one["reason"]) for one in history[3:]] == [
        ("expired", None),
        ("rejected", "overheated"),
        ("acknowledged", None),
    ]
    assert [one["who"] for one in history] == [None] * 3 + ["olga"] * 3
    assert [one["actor"].partition(":")[0] for one in history] == ["system"] * 3 + ["user", "token", "user"]
    for state in ("acknowledged", "rejected", "expired", "failed"):
        found = await in_pages(olga, f"devices/{heater_id}/commands", 1, state=state)
        assert found == [one for one in history if one["state"] == state]
    for one in history:
        took = (datetime.fromisoformat(one["ended_at"]) - datetime.fromisoformat(one["requested_at"])).total_seconds()
        assert one["latency_ms"] == (None if one["state"] == "expired" else round(took * 1000))
    await check_why(olga, heater, [*history[:3], done])
    await heater.client.disconnect()


async def check_why(olga: AsyncClient, heater: RawSocket, moved: list[Any]) -> None:
    """What the socket does by itself comes first, then the commands that moved the relay."""
    path = f"devices/{heater.device_id}/why"

    async def newest(event: str) -> bool:
        (last,) = (await ask(olga, "GET", path, 200, params={"limit": 1}))["items"]
        return (last["report"] or {}).get("event") == event

    for event, cause in (("trip", "over_current"), ("switched", "pressed")):
        heater.say(DeviceEventReport(event, details={"cause": cause}))
        await eventually(partial(newest, event))
    items = (await ask(olga, "GET", path, 200, params={"limit": 50}))["items"]
    assert [(one["source"], one["report"]["event"], one["report"]["details"]["cause"]) for one in items[:2]] == [
        ("socket", "switched", "pressed"),
        ("socket", "trip", "over_current"),
    ]
    told = ("command_id", "why", "actor", "who", "correlation_id", "type")
    assert [[one[name] for name in told] for one in items[2:]] == [[one[name] for name in told] for one in moved]
    assert [one["at"] for one in items[2:]] == [one["ended_at"] for one in moved]
    assert {one["relay"] for one in items[2:]} == {True}
