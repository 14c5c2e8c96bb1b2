"""The live feed over a line to Redis that dies without a word: no reset, no end, just nothing any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest
from redis.asyncio import Redis

from api import live
from api.app import connect_redis
from api.live import LiveEvent, LiveFeed
from domain.clock import SystemClock
from tests.contract.api.test_live import documents
from tests.servers import World
from tests.waiting import until


class MuteableLine:
    """Forwards to a unix socket.

    Attributes:
        url: where a Redis client connects.
        calls: connections so far.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream, self._muted, self._mutes_new = upstream, 0, False
        self.url, self.calls = "", 0

    def mute(self) -> None:
        """Swallow what all connections carry, and those that come before `heal`, for ever."""
        self._muted, self._mutes_new = self.calls, True

    def heal(self) -> None:
        """Let the connections that come from now on through."""
        self._muted, self._mutes_new = self.calls, False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        number = self.calls
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65536):
                    if number > self._muted and not self._mutes_new:
                        sink.write(data)

        pumps = [asyncio.ensure_future(pump(*ends)) for ends in ((reader, up_writer), (up_reader, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, up_writer):
            end.close()
        await asyncio.wait(pumps)


@pytest.fixture
async def line(embedded_world: World) -> AsyncIterator[MuteableLine]:
    line = MuteableLine(embedded_world.settings.resolved_redis_url().removeprefix("unix://"))
    async with await asyncio.start_server(line.accept, "127.0.0.1", 0) as server:
        line.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield line


@asynccontextmanager
async def following(line: MuteableLine, channel: str) -> AsyncIterator[AsyncIterator[LiveEvent]]:
    """What a client hears of a feed over this line, after `hello`; its heartbeats come every second."""
    feed = LiveFeed(connect_redis(line.url), channel, SystemClock())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(feed.run())
        await until(lambda: feed.following)
        viewer = SimpleNamespace(device_ids=frozenset({"kettle"}), user_id=None)
        events = feed.events(viewer, transport="sse", heartbeat_s=1.0)  # type: ignore[arg-type]
        assert (await anext(events)).name == "hello"
        yield events
        task.cancel()
    await feed.disconnect()


async def test_a_line_that_dies_in_silence_is_replaced_and_clients_are_told(
    line: MuteableLine, embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SILENCE_S", 0.3)
    channel = f"{embedded_world.marker}:live"
    async with (
        Redis.from_url(embedded_world.settings.resolved_redis_url()) as redis,
        following(line, channel) as events,
        asyncio.timeout(20),
    ):
        line.mute()
        # The next line is as dead, from its handshake on.
        await until(lambda: line.calls >= 2, within_s=10)
        line.heal()
        while (event := await anext(events)).name == "heartbeat":
            pass
        assert (event.name, event.data) == ("missed", b'{"type":"missed","count":null}')
        await redis.publish(channel, b'{"type":"readings","items":[%b]}' % documents("kettle", 1)[0])
        assert (await anext(events)).name == "readings"


async def test_a_line_with_nothing_to_say_is_kept(
    line: MuteableLine, embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SILENCE_S", 0.5)
    async with following(line, f"{embedded_world.marker}:live") as events, asyncio.timeout(20):
        assert [(await anext(events)).name for _ in range(2)] == ["heartbeat", "heartbeat"]
    assert line.calls == 1
