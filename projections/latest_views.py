"""The latest reading and presence of each device in Redis, and the live feed. Redis may be lost at any time.

Every write goes through one script that keeps what is newer, so it does not matter who writes first. The marker
`generation` says that the views are complete: it goes with FLUSHALL, and readers then ask SQL until the views have
been filled from there again. `tables` names the set of SQL's tables that they show: what is newer than all in those
that a rebuild has swapped in is not to stay.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.clock import to_instant
from domain.errors import DependencyUnavailable
from projections.folded import Newest, Presence
from projections.newest_rows import DeviceView

_encode = msgspec.json.Encoder().encode
_CHUNK = 500
"""Devices of one script call: Lua unpacks at most some thousand values, and nobody else is served meanwhile."""

# KEYS: documents, orders. ARGV: channel or "", type, 1 if an equal order also wins, then per device: id, order,
# document, what the feed shows of it ("": the document). The feed shows what was newer, in one message.
_KEEP_NEWER = """
local ids, shown = {}, {}
for i = 4, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
local held = redis.call('HMGET', KEYS[2], unpack(ids))
local documents, orders = {}, {}
for n, id in ipairs(ids) do
    local i = n * 4
    local order = ARGV[i + 1]
    if not held[n] or held[n] < order or (ARGV[3] == '1' and held[n] == order) then
        documents[#documents + 1] = id
        documents[#documents + 1] = ARGV[i + 2]
        orders[#orders + 1] = id
        orders[#orders + 1] = order
        shown[#shown + 1] = ARGV[i + 3] ~= '' and ARGV[i + 3] or ARGV[i + 2]
    end
end
if #shown > 0 then
    redis.call('HSET', KEYS[1], unpack(documents))
    redis.call('HSET', KEYS[2], unpack(orders))
    if ARGV[1] ~= '' then
        redis.call('PUBLISH', ARGV[1], '{"type":"' .. ARGV[2] .. '","items":[' .. table.concat(shown, ',') .. ']}')
    end
end
return #shown
"""
# KEYS: generation, filling. ARGV: the token of this filling, which a FLUSHALL meanwhile has taken away.
_FINISH = "if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[1]); return 1 end; return 0"


class LatestViews:
    """The views behind one Redis or Valkey.

    Every method raises `DependencyUnavailable` if the server does not answer in time.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client: Any = client
        self._prefix = prefix
        self._keep_newer = self._client.register_script(_KEEP_NEWER)
        self._finish = self._client.register_script(_FINISH)

    @property
    def channel(self) -> str:
        return f"{self._prefix}live"

    async def show(self, newest: Mapping[str, Newest], presences: Mapping[str, Presence]) -> None:
        """Take these in where they are newer, and tell the live feed: one message of readings, one of presence."""
        readings = [(device, one.order(), one.document, b"") for device, one in newest.items()]
        told = [
            (device, f"{one.received_at_ms:015d}", presence_document(one), _presence_item(device, one))
            for device, one in presences.items()
        ]
        with _translated():
            await self._keep("latest", "readings", readings, channel=self.channel, equal_wins=False)
            await self._keep("presence", "presence", told, channel=self.channel, equal_wins=True)

    async def fill(self, devices: Sequence[DeviceView]) -> None:
        """Take these in where they are newer, without telling the feed."""
        readings = [(one.device_id, one.newest.order(), one.newest.document, b"") for one in devices if one.newest]
        told = [
            (one.device_id, f"{one.presence.received_at_ms:015d}", presence_document(one.presence), b"")
            for one in devices
            if one.presence
        ]
        with _translated():
            await self._keep("latest", "readings", readings, channel="", equal_wins=False)
            await self._keep("presence", "presence", told, channel="", equal_wins=False)

    async def _keep(
        self, view: str, kind: str, items: Sequence[tuple[str, str, bytes, bytes]], *, channel: str, equal_wins: bool
    ) -> None:
        keys = [f"{self._prefix}{view}", f"{self._prefix}{view}:order"]
        for start in range(0, len(items), _CHUNK):
            flat = [part for item in items[start : start + _CHUNK] for part in item]
            await self._keep_newer(keys=keys, args=[channel, kind, int(equal_wins), *flat])

    async def are_complete(self) -> bool:
        """Whether nothing was lost since they were last filled."""
        with _translated():
            return bool(await self._client.exists(f"{self._prefix}generation"))

    async def distrust(self) -> None:
        """Make readers ask SQL until the views have been filled."""
        with _translated():
            await self._client.delete(f"{self._prefix}generation")

    async def are_of(self, tables: str) -> bool:
        """Whether they show this set of tables."""
        with _translated():
            return bool(await self._client.get(f"{self._prefix}tables") == tables.encode())

    async def clear(self, tables: str) -> None:
        """Forget everything, for a filling from scratch from this set of tables."""
        names = ("generation", "filling", "latest", "latest:order", "presence", "presence:order")
        with _translated():
            await self._client.delete(*(self._prefix + name for name in names))
            await self._client.set(f"{self._prefix}tables", tables)

    async def begin_filling(self) -> str:
        """A token for `finish_filling`."""
        token = secrets.token_hex(8)
        with _translated():
            await self._client.set(f"{self._prefix}filling", token)
        return token

    async def finish_filling(self, token: str) -> bool:
        """Declare the views complete, unless all was lost since the filling began."""
        with _translated():
            keys = [f"{self._prefix}generation", f"{self._prefix}filling"]
            return bool(await self._finish(keys=keys, args=[token]))

    async def entries(self, view: str) -> dict[str, tuple[str, bytes]]:
        """Every device's (order, document) in `latest` or `presence`."""
        with _translated():
            documents = await self._client.hgetall(f"{self._prefix}{view}")
            orders = await self._client.hgetall(f"{self._prefix}{view}:order")
        return {key.decode(): (orders.get(key, b"").decode(), document) for key, document in documents.items()}


def presence_document(presence: Presence) -> bytes:
    """The JSON of a presence, as `presence` holds it."""
    return _encode(
        {
            "online": presence.online,
            "at": to_instant(presence.received_at_ms),
            "boot": presence.boot,
            "firmware": presence.firmware,
            "config": presence.config,
        }
    )


def _presence_item(device_id: str, presence: Presence) -> bytes:
    return _encode({"device_id": device_id, "online": presence.online, "at": to_instant(presence.received_at_ms)})


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise DependencyUnavailable("redis", str(error) or type(error).__name__) from error
