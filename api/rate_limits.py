"""How often anybody may ask: counted in Redis for all processes together, in memory while Redis is away.

A process takes its share of a window from Redis in hundredths, so that a busy program costs one round trip per
hundredth of its limit and not per request. The strict limits are too small for shares: they are counted exactly.

Source of the header fields: draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from api.addresses import client_address, counted_as
from api.asking import identity_of
from api.problems import TooMany, Unauthenticated, problem
from api.security_headers import answer_headers
from domain.errors import DependencyUnavailable

Who = Literal["tokens", "users", "devices", "strangers", "sign-in", "sign-up", "set-up"]
_REST_AFTER_FAILURE_S = 1.0
_SHARES = 100
_MOST_LEASES = 20_000


class Standing(NamedTuple):
    """Where somebody stands in the window that is open."""

    who: Who
    allowed: bool
    amount: int
    window_s: int
    left: int
    resets_in_s: int

    def headers(self) -> dict[str, str]:
        return {
            "ratelimit-policy": f'"{self.who}";q={self.amount};w={self.window_s}',
            "ratelimit": f'"{self.who}";r={self.left};t={self.resets_in_s}',
        }


@dataclass(slots=True)
class _Lease:
    left: int
    shared_left: int
    ends_at: float

    def has_answer(self, now: float) -> bool:
        """Whether it says by itself if one more request is allowed."""
        return now < self.ends_at and (self.left > 0 or self.shared_left <= 0)


class RateLimits:
    """Counts requests.

    Args:
        rules: such as `600/minute`, in the notation of the `limits` library.
    """

    def __init__(self, redis: Redis, prefix: str, rules: Mapping[Who, str]) -> None:
        # The pool alone says where Redis is; the address is only what the library insists on.
        options: dict[str, Any] = {"connection_pool": redis.connection_pool}
        self._shared = RedisStorage("async+redis://", implementation="redispy", key_prefix=f"{prefix}limits", **options)
        self._alone = MemoryStorage()
        self._alone_until = 0.0
        self._rules: dict[Who, RateLimitItem] = {who: parse(rule) for who, rule in rules.items()}
        self._leases: dict[tuple[Who, str], _Lease] = {}
        # Held by whoever takes a share; a lock that nobody holds or waits for is gone.
        self._taking: WeakValueDictionary[tuple[Who, str], asyncio.Lock] = WeakValueDictionary()

    async def count(self, who: Who, key: str) -> Standing:
        """Count one request of `key`; whether it is allowed."""
        lease = self._leases.get((who, key))
        if lease is None or not lease.has_answer(time.time()):
            # One at a time: shares that many take at once would be lost but the last.
            async with self._taking.setdefault((who, key), asyncio.Lock()):
                lease = self._leases.get((who, key))
                if lease is None or not lease.has_answer(time.time()):
                    lease = await self._lease(who, key)
        return self._counted(who, lease)

    def _counted(self, who: Who, lease: _Lease) -> Standing:
        rule, allowed = self._rules[who], lease.left > 0
        if allowed:
            lease.left -= 1
        resets_in_s = max(1, math.ceil(lease.ends_at - time.time()))
        return Standing(who, allowed, rule.amount, rule.get_expiry(), lease.left + lease.shared_left, resets_in_s)

    async def count_strictly(self, who: Who, connection: HTTPConnection, user_id: str | None = None) -> None:
        """Count one request of this address, and of this user wherever they are. Raises `TooMany`."""
        for key in _strict_keys(connection, user_id):
            standing = await self.count(who, key)
            if not standing.allowed:
                detail = f"too many requests ({who})"
                raise TooMany("too-many-requests", detail, standing.resets_in_s, standing.headers())

    def forgive(self, who: Who, connection: HTTPConnection, user_id: str | None = None) -> None:
        """Give back what `count_strictly` has just counted."""
        for key in _strict_keys(connection, user_id):
            lease = self._leases.get((who, key))
            if lease is not None:
                lease.left += 1

    async def _lease(self, who: Who, key: str) -> _Lease:
        rule = self._rules[who]
        name = rule.key_for(who, key)
        wanted = max(1, rule.amount // _SHARES)
        if time.monotonic() >= self._alone_until:
            try:
                return self._keep(who, key, await self._take(self._shared, name, rule, wanted))
            except (RedisError, OSError, TimeoutError):
                self._alone_until = time.monotonic() + _REST_AFTER_FAILURE_S
        return self._keep(who, key, await self._take(self._alone, name, rule, wanted))

    async def _take(self, storage: RedisStorage | MemoryStorage, name: str, rule: RateLimitItem, wanted: int) -> _Lease:
        taken = await storage.incr(name, rule.get_expiry(), amount=wanted)
        granted = max(0, min(wanted, rule.amount - (taken - wanted)))
        return _Lease(granted, max(0, rule.amount - taken), await storage.get_expiry(name))

    def _keep(self, who: Who, key: str, lease: _Lease) -> _Lease:
        if len(self._leases) >= _MOST_LEASES:
            now = time.time()
            self._leases = {one: lease for one, lease in self._leases.items() if now < lease.ends_at}
        if len(self._leases) >= _MOST_LEASES:
            self._leases.clear()
        self._leases[who, key] = lease
        return lease


class LimitRates:
    """Count every request and every live connection, by its token, its user or its address.

    Args:
        preflights: count these alone: they are answered further out than all others, whose refusals must tell browsers
            who may read them.
    """

    def __init__(self, app: ASGIApp, limits: RateLimits, *, preflights: bool = False) -> None:
        self._app, self._limits, self._preflights = app, limits, preflights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or (self._preflights and not _is_preflight(scope)):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        standing = await self._limits.count(*await _counted(connection))
        # Added to the answer further out, where all of its header fields are.
        added = standing.headers().items()
        answer_headers(scope).extend((name.encode(), value.encode()) for name, value in added)
        if standing.allowed:
            await self._app(scope, receive, send)
            return
        headers = {"Retry-After": str(standing.resets_in_s)}
        detail = f"at most {standing.amount} requests in {standing.window_s} s ({standing.who})"
        refusal = problem(connection, 429, "too-many-requests", detail, headers=headers)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)


def _is_preflight(scope: Scope) -> bool:
    """Whether a browser asks for a page of another origin. Source: Fetch standard, "CORS-preflight request"."""
    headers = Headers(scope=scope)
    return scope.get("method") == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _strict_keys(connection: HTTPConnection, user_id: str | None) -> list[str]:
    address = counted_as(client_address(connection.scope))
    return [address] if user_id is None else [address, user_id]


async def _counted(connection: HTTPConnection) -> tuple[Who, str]:
    """As whom a request counts; what shows no valid token or session counts for its address."""
    try:
        # Files of the page are the same for everybody: no look at the session.
        identity = await identity_of(connection) if _may_be_private(connection.scope["path"]) else None
    except (Unauthenticated, DependencyUnavailable):
        identity = None
    if identity is None:
        return "strangers", counted_as(client_address(connection.scope))
    if identity.principal.device_id is not None:
        return "devices", identity.principal.device_id
    if identity.token_hash is not None:
        return "tokens", identity.token_hash
    return "users", identity.principal.user_id or ""


def _may_be_private(path: str) -> bool:
    return path.startswith(("/api/", "/metrics", "/readyz"))
