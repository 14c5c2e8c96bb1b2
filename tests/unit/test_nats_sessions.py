"""Stale sessions end, however many there are and whatever happens during the sweep; NATS is played by a list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from ops.embedded.nats_sessions import LiveSessions
from tests.waiting import until


class Nats:
    """Answers CONNZ and KICK as a server with these MQTT clients does."""

    def __init__(self, *names: str) -> None:
        self.clients = dict(enumerate(names))
        self.lists = 0
        self.on_list: Callable[[], None] = lambda: None

    async def request(self, subject: str, payload: bytes, timeout: float) -> Any:
        asked = json.loads(payload)
        if subject.endswith(".KICK"):
            self.clients.pop(asked["cid"], None)
            return SimpleNamespace(data=b"{}")
        self.lists += 1
        matching = [
            {"cid": cid, "mqtt_client": name, "authorized_user": name}
            for cid, name in sorted(self.clients.items())
            if asked.get("mqtt_client", name) == name
        ]
        page = matching[asked["offset"] : asked["offset"] + asked["limit"]]
        self.on_list()
        await asyncio.sleep(0)
        return SimpleNamespace(data=json.dumps({"server": {"id": "N"}, "data": {"connections": page}}).encode())


@asynccontextmanager
async def sweeping(sessions: LiveSessions, nats: Nats) -> AsyncIterator[None]:
    running = asyncio.ensure_future(sessions.run(nats))  # type: ignore[arg-type]
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})


def all_stale() -> LiveSessions:
    return LiveSessions("FLEET", lambda _device_id: None, frozenset())


async def test_of_more_sessions_than_a_page_holds_none_is_overlooked() -> None:
    nats = Nats(*(f"d{number}" for number in range(2500)))
    async with sweeping(all_stale(), nats):
        await until(lambda: nats.lists >= 3)
        await until(lambda: not nats.clients, within_s=5)


async def test_those_who_leave_while_pages_are_read_hide_nobody() -> None:
    nats = Nats(*(f"d{number}" for number in range(2500)))

    def leave() -> None:
        for cid in sorted(nats.clients)[:100] if nats.lists < 3 else ():
            del nats.clients[cid]

    nats.on_list = leave
    async with sweeping(all_stale(), nats):
        await until(lambda: not nats.clients, within_s=5)


async def test_a_suspicion_that_comes_during_a_sweep_is_seen_to_by_the_next_one() -> None:
    sessions, nats, suspecting = all_stale(), Nats(), list[asyncio.Future[None]]()

    def come_late() -> None:
        if nats.lists == 1:
            nats.clients[7] = "late"
            suspecting.append(asyncio.ensure_future(sessions.suspect_all()))

    nats.on_list = come_late
    async with sweeping(sessions, nats):
        await until(lambda: nats.lists >= 2 and not nats.clients, within_s=5)
