"""Everything that runs between a person and a socket, each role a process of its own; and who asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from domain.lifecycle.cause import system_cause
from ops.application import Application, open_application
from ops.child import start_together
from ops.wiring import migrate
from tests.command_run import Plug, a_plug
from tests.contract.api.members import Member, bearer, sign_in
from tests.servers import World

R = TypeVar("R")

ROLES = ("api", "bridge", "dispatcher", "projector", "relay")


@dataclass
class FullChain:
    """All roles on a world of their own, olga who set it up, and her socket, which is online."""

    world: World
    application: Application
    olga: Member
    plug: Plug
    plug_token: str
    logs: dict[str, Path]
    _clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.world.settings.api_port}"

    @property
    def plug_id(self) -> str:
        return self.plug.device.device_id

    # --- who asks ---------------------------------------------------------------------------------------

    def sign_up(self, email: str, *, name: str | None = None, tenant_name: str | None = None) -> Member:
        """One more user, with a tenant of their own."""
        return new_member(self.application, email, name=name, tenant_name=tenant_name)

    def stranger(self, *, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """A client that says not who it is."""
        way = httpx.AsyncHTTPTransport(local_address=address)
        self._clients.append(httpx.AsyncClient(base_url=self.base_url, timeout=30, transport=way))
        return self._clients[-1]

    def program(self, token: str) -> httpx.AsyncClient:
        """A client with a token."""
        client = self.stranger()
        client.headers.update(bearer(token))
        return client

    async def person(self, member: Member, *, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """A client with a session."""
        client = self.stranger(address=address)
        await sign_in(client, member)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


def new_member(
    application: Application, email: str, *, name: str | None = None, tenant_name: str | None = None
) -> Member:
    """A user whose password follows from the email."""
    who = email.partition("@")[0]
    cause, password = system_cause("test", datetime.now(UTC)), f"{who}'s long password"
    new = application.accounts.sign_up(
        cause, email=email, name=name or who, password=password, tenant_name=tenant_name or f"{who}'s home"
    )
    assert new.tenant_id is not None
    return Member(new.user_id, new.tenant_id, email, password)


@asynccontextmanager
async def full_chain(world: World) -> AsyncIterator[FullChain]:
    """Start everything; it stops with the world."""
    migrate(world.settings)
    roles = [world.role(name) for name in ROLES]
    start_together(roles)
    async with AsyncExitStack() as stack:
        application = stack.enter_context(open_application(world.settings))
        olga = new_member(application, "olga@example.org")
        token = world.register(olga.tenant_id, [world.device_id("plug")])[world.device_id("plug")]
        plug = await stack.enter_async_context(a_plug(world, token=token))
        logs = {role.spec.name: role.spec.log_path for role in roles}
        chain = FullChain(world, application, olga, plug, token, logs)
        stack.push_async_callback(chain.close)
        yield chain


async def ask(client: httpx.AsyncClient, method: str, path: str, status: int, **more: Any) -> Any:
    """The JSON of an answer below `/api/v1`, None if it has no content."""
    answer = await client.request(method, f"/api/v1/{path}", **more)
    assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


async def eventually(found: Callable[[], Awaitable[R]], *, within_s: float = 20) -> R:
    """The first truthy result; the last one's assertion tells what was missing."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not (result := await found()):
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s:g} s; last: {result!r}"
        await asyncio.sleep(0.03)
    return result
