"""What knowing who asks costs: sign-ins, and reads by token and by session, next to a route that asks nobody."""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
from argon2 import PasswordHasher

from domain.errors import DependencyUnavailable
from ops.bench.http_load import HttpRun, ask, ask_without_pause
from ops.bench.processes import cpu_seconds
from ops.bench.reader import Reader
from ops.child import Child
from ops.settings import Settings

_CONNECTIONS = 8
# Enough for all threads; fewer than an account may have under way before it is locked out.
_SIGN_INS_AT_ONCE = 4
# As many as the API hashes at once.
_PASSWORD_THREADS = 2
_COOKIE = re.compile(rb"set-cookie: *([^;]+);", re.IGNORECASE)


@dataclass(frozen=True)
class AccessRate:
    """How often something was answered, and the CPU time of the API's process for it."""

    name: str
    run: HttpRun
    cpu_us: float


class AccessRates:
    """Asks one API.

    Args:
        path: what the reader may read.
    """

    def __init__(self, settings: Settings, api: Child, reader: Reader, path: str, seconds: float) -> None:
        self._host, self._port, self._api = settings.api_host, settings.api_port, api
        self._reader, self._path, self._seconds = reader, path, seconds

    async def reads(self) -> list[AccessRate]:
        """A route that asks nobody, then what may be read by token and by session."""
        cookie = await self._cookie()
        token = f"Authorization: Bearer {self._reader.api_token}"
        return [
            await self._rate("no account, /healthz", self._get("/healthz", "Accept: */*"), 200),
            await self._rate("latest by token", self._get(self._path, token), 200),
            await self._rate("latest by session", self._get(self._path, f"Cookie: {cookie}"), 200),
        ]

    async def sign_ins(self) -> AccessRate:
        """Passwords shown, each answered with a session."""
        return await self._rate("sign-in", self._sign_in(), 201, connections=_SIGN_INS_AT_ONCE)

    def bare_hashes_per_s(self) -> float:
        """Passwords checked by nothing but argon2, in as many threads. Blocking."""
        hasher, ends_s = PasswordHasher(), time.monotonic() + self._seconds
        stored = hasher.hash(self._reader.password)

        def check() -> int:
            done = 0
            while time.monotonic() < ends_s:
                hasher.verify(stored, self._reader.password)
                done += 1
            return done

        with ThreadPoolExecutor(_PASSWORD_THREADS) as threads:
            checked = [threads.submit(check) for _ in range(_PASSWORD_THREADS)]
            return sum(one.result() for one in checked) / self._seconds

    async def _rate(self, name: str, request: bytes, expected: int, *, connections: int = _CONNECTIONS) -> AccessRate:
        before = cpu_seconds({"api": self._api})
        run = await ask_without_pause(
            self._host, self._port, request, expected=expected, connections=connections, seconds=self._seconds
        )
        used_s = cpu_seconds({"api": self._api})["api"] - before["api"]
        return AccessRate(name, run, used_s / max(1, len(run.latencies_ms)) * 1e6)

    async def _cookie(self) -> str:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            status, head = await ask(reader, writer, self._sign_in())
        finally:
            writer.close()
        found = _COOKIE.search(head)
        if status != 201 or found is None:
            raise DependencyUnavailable("api", f"it answers a sign-in with {status}")
        return found[1].decode()

    def _get(self, path: str, header: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n{header}\r\n\r\n".encode()

    def _sign_in(self) -> bytes:
        body = msgspec.json.encode({"email": self._reader.email, "password": self._reader.password})
        head = f"POST /api/v1/session HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
