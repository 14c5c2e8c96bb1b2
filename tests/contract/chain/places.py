"""Everywhere that something about a person could stand, as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from redis.asyncio import Redis

from domain.events import DEAD_LETTERS_TOPIC, LIFECYCLE_TOPIC, READINGS_TOPIC, REPORTS_TOPIC
from tests.full_chain import FullChain
from tests.log_reader import read_log

TOPICS = (LIFECYCLE_TOPIC, REPORTS_TOPIC, READINGS_TOPIC, DEAD_LETTERS_TOPIC)


async def all_places(chain: FullChain, log_starts: Mapping[str, int]) -> dict[str, bytes]:
    """What stands in Kafka, in both databases' files, in Redis and, since then, in the roles' logs."""
    settings = chain.world.settings
    places = {"redis": await _redis(settings.resolved_redis_url(), settings.redis_prefix)}
    for topic in TOPICS:
        records = await read_log(chain.world, topic)
        fields = [(one.key or b"", one.value or b"", str(one.headers).encode()) for one in records]
        places[f"kafka {topic}"] = b"\n".join(part for field in fields for part in field)
    urls = {"events": settings.resolved_event_store_url(), "views": settings.resolved_database_url()}
    for name, url in urls.items():
        places[name] = await asyncio.to_thread(_files, Path(url.removeprefix("sqlite:///")))
    for role, path in chain.logs.items():
        places[f"log of {role}"] = path.read_bytes()[log_starts[role] :]
    return places


def log_ends(chain: FullChain) -> dict[str, int]:
    """Where the roles' logs, which all tests share, end now."""
    return {role: path.stat().st_size for role, path in chain.logs.items()}


def found_in(places: Mapping[str, bytes], *words: str) -> set[str]:
    """The places where one of these words stands, in whatever case."""
    lower = [word.lower().encode() for word in words]
    return {place for place, content in places.items() if any(word in content.lower() for word in lower)}


def _files(database: Path) -> bytes:
    """A SQLite database with what is not in its main file yet; SQLite keeps text in UTF-8, as it is."""
    parts: Iterable[Path] = (database, database.with_name(f"{database.name}-wal"))
    return b"\n".join(part.read_bytes() for part in parts if part.exists())


async def _redis(url: str, prefix: str) -> bytes:
    dumped: list[bytes] = []
    async with Redis.from_url(url) as redis:
        async for key in redis.scan_iter(f"{prefix}*", count=1000):
            if key.startswith(f"{prefix}limits".encode()):
                # How often an address has asked, whoever that was; soon nobody knows any more.
                assert 0 <= await redis.ttl(key) <= 3600, key
            else:
                dumped += [key, await _value(redis, key)]
    return b"\n".join(dumped)


async def _value(redis: Redis, key: bytes) -> bytes:
    match await redis.type(key):
        case b"string":
            return repr(await redis.get(key)).encode()
        case b"hash":
            return repr(await redis.hgetall(key)).encode()
        case b"set":
            return repr(await redis.smembers(key)).encode()
        case kind:
            raise AssertionError(f"{key!r} is a {kind!r}, which nobody looks into here")
