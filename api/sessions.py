"""Sessions of people with a browser: in Redis under the hash of a random id, which only the cookie holds in clear."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Iterable
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import HTTPConnection
from starlette.responses import Response

from api.problems import Unauthenticated
from domain.clock import Clock
from domain.errors import DependencyUnavailable
from domain.lifecycle.access import Access

Answer = TypeVar("Answer")

IDLE_S = 7 * 86_400
LONGEST_S = 30 * 86_400
COOKIE = "wattaway_session"
_ID_BYTES = 32
# Of a user's list, whenever one joins it: it stays about as long as what is in use, and to sign in costs the same.
_LOOKED_AT = 20


class Session(msgspec.Struct, frozen=True):
    """What is kept of a session.

    Args:
        password: fingerprint of the user's sealed password when the session began: with another password it is void.
    """

    user_id: str
    csrf_token: str
    began_at_ms: int
    authenticated_at_ms: int
    password: str


class FoundSession(NamedTuple):
    """A session and where it stands."""

    key: str
    session: Session


class NewSession(NamedTuple):
    """A session and the cookie's value, in clear for the only time."""

    cookie: str
    session: Session


class Sessions:
    """Every method raises `DependencyUnavailable` if Redis is away, and what begins or keeps a session
    `Unauthenticated` if its user is forgotten.

    Args:
        access: knows the users' sealed passwords.
    """

    def __init__(self, redis: Redis, prefix: str, clock: Clock, access: Access) -> None:
        self._redis, self._clock, self._access = redis, clock, access
        self._prefix, self._index_prefix = f"{prefix}session:", f"{prefix}sessions-of:"

    async def begin(self, user_id: str, *, began_at_ms: int | None = None) -> NewSession:
        """A new session under a new id, whose user has just shown the password."""
        now_ms = self._clock.now_ms()
        cookie = secrets.token_urlsafe(_ID_BYTES)
        password = self._password_of(user_id)
        session = Session(user_id, secrets.token_urlsafe(_ID_BYTES), began_at_ms or now_ms, now_ms, password)
        key, index = self._key(cookie), self._index(user_id)
        some = [one.decode() for one in await _answer(self._redis.srandmember(index, _LOOKED_AT))]
        timed_out = await self.ended(some)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(key, msgspec.json.encode(session), ex=IDLE_S)
            if timed_out:
                pipeline.srem(index, *timed_out)
            pipeline.sadd(index, key)
            pipeline.expire(index, LONGEST_S)
            await _answer(pipeline.execute())
        return NewSession(cookie, session)

    async def renew(self, found: FoundSession) -> NewSession:
        """The same session under a new id, after its user has shown the password once more; the old id is void."""
        new = await self.begin(found.session.user_id, began_at_ms=found.session.began_at_ms)
        await self.end(found)
        return new

    async def find(self, cookie: str) -> FoundSession | None:
        """The session of a cookie, kept for another `IDLE_S`."""
        key = self._key(cookie)
        value = await _answer(self._redis.getex(key, ex=IDLE_S))
        return None if value is None else FoundSession(key, msgspec.json.decode(value, type=Session))

    def counts(self, session: Session) -> bool:
        """Whether it may still be used: its user is there, with the same password, and it is not too old."""
        user = self._access.users.get(session.user_id)
        if user is None or fingerprint(user.password_sealed) != session.password:
            return False
        return self._clock.now_ms() < session.began_at_ms + LONGEST_S * 1000

    async def end(self, found: FoundSession) -> None:
        """Forget a session."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(found.key)
            pipeline.srem(self._index(found.session.user_id), found.key)
            await _answer(pipeline.execute())

    async def end_cookie(self, cookie: str) -> None:
        """Forget the session of a cookie, if there is one."""
        found = await self.find(cookie)
        if found is not None:
            await self.end(found)

    async def end_all(self, user_id: str, *, but: str | None = None) -> None:
        """Forget a user's sessions, but that one."""
        index = self._index(user_id)
        ended = [key for key in map(bytes.decode, await _answer(self._redis.smembers(index))) if key != but]
        if ended:
            await _answer(self._redis.delete(*ended))
            await _answer(self._redis.srem(index, *ended))

    async def end_others(self, user_id: str, asked: FoundSession | None) -> None:
        """After a change of the password: the session that asked goes on, all others end."""
        if asked is not None:
            kept = msgspec.structs.replace(asked.session, password=self._password_of(user_id))
            await _answer(self._redis.set(asked.key, msgspec.json.encode(kept), ex=IDLE_S, xx=True))
        await self.end_all(user_id, but=None if asked is None else asked.key)

    async def ended(self, keys: Iterable[str]) -> set[str]:
        """Which of these are no more."""
        asked = list(keys)
        values = await _answer(self._redis.mget(asked)) if asked else []
        return {key for key, value in zip(asked, values, strict=True) if value is None}

    async def disconnect(self) -> None:
        await self._redis.aclose()

    def _password_of(self, user_id: str) -> str:
        user = self._access.users.get(user_id)
        if user is None:
            raise forgotten()
        return fingerprint(user.password_sealed)

    def _key(self, cookie: str) -> str:
        return self._prefix + sha256(cookie.encode()).hexdigest()

    def _index(self, user_id: str) -> str:
        return self._index_prefix + user_id


def forgotten() -> Unauthenticated:
    return Unauthenticated("this account was forgotten meanwhile", kind="wrong-credentials")


def fingerprint(password_sealed: str) -> str:
    """What tells one sealed password from another."""
    return sha256(password_sealed.encode()).hexdigest()


async def _answer(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except (RedisError, OSError, TimeoutError) as error:
        raise DependencyUnavailable("redis", str(error)[:200] or type(error).__name__) from error


# --- the cookie -----------------------------------------------------------------------------------------


def cookie_of(connection: HTTPConnection) -> str | None:
    """The session cookie that came, by the name that it has on this kind of connection."""
    return connection.cookies.get(_name(connection))


def set_cookie(connection: HTTPConnection, response: Response, cookie: str) -> None:
    """Give the browser its session."""
    response.set_cookie(_name(connection), cookie, max_age=LONGEST_S, **_flags(connection))


def clear_cookie(connection: HTTPConnection, response: Response) -> None:
    """Take the session from the browser."""
    response.delete_cookie(_name(connection), **_flags(connection))


def is_secure(connection: HTTPConnection) -> bool:
    """Whether it came over TLS, to us or to a proxy that we trust."""
    return connection.scope["scheme"] in ("https", "wss")


def _name(connection: HTTPConnection) -> str:
    # Browsers take a cookie of this prefix only from its own host over TLS: no other subdomain can plant one.
    return f"__Host-{COOKIE}" if is_secure(connection) else COOKIE


def _flags(connection: HTTPConnection) -> dict[str, Any]:
    return {"path": "/", "secure": is_secure(connection), "httponly": True, "samesite": "lax"}
