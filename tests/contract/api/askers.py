"""Everybody who may ask the API: each kind of person, program and device, and what connects it with what is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from domain.lifecycle.commands import Order
from domain.lifecycle.policy import Grant
from domain.lifecycle.users import Scope
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import Member, bearer, sign_in


@dataclass(frozen=True)
class Kind:
    """A kind of asker: what connects it with the tenant and the devices."""

    name: str
    grants: frozenset[Grant]
    scope: Scope | None = None


def _people(*names: Grant) -> list[Kind]:
    return [Kind(name, frozenset({name, "signed-in"})) for name in names]


KINDS = [
    *_people("owner", "operator", "viewer", "share:view", "share:switch", "share:manage"),
    Kind("stranger", frozenset({"signed-in"})),
    *_people("admin"),
    Kind("token:read", frozenset({"owner", "signed-in"}), "read"),
    Kind("token:control", frozenset({"owner", "signed-in"}), "control"),
    Kind("token:manage", frozenset({"owner", "signed-in"}), "manage"),
    Kind("admin's token:read", frozenset({"admin", "signed-in"}), "read"),
    Kind("admin's token:manage", frozenset({"admin", "signed-in"}), "manage"),
    Kind("device", frozenset({"device"})),
    Kind("device next door", frozenset()),
    Kind("nobody", frozenset()),
]


class Cast:
    """Everybody who asks, and the tenant and devices they ask about."""

    def __init__(self, api: ApiCorner) -> None:
        self.api, self.members = api, api.members
        self._clients: dict[str, httpx.AsyncClient] = {}
        self.application = api.members.application
        self.people: dict[str, Member] = {"admin": api.owner}
        for kind in KINDS[:7]:
            self.people[kind.name] = self.members.sign_up(kind.name.replace(":", "-"))
        self.guest, self.owner = self.members.sign_up("guest"), self.people["owner"]
        self.tenant_id, self.left_tenant_id = self.owner.tenant_id, self._tenant_to_leave()
        for tenant_id in (self.tenant_id, self.left_tenant_id):
            for role in ("operator", "viewer"):
                self.application.tenancy.add_member(tenant_id, self.people[role].user_id, role, self.members.cause())
        self.device_id = self.new_device("lamp")
        self.new_device("next-door")
        self.tokens = self._tokens()
        self.ids = self._ids()

    def new_device(self, device_id: str) -> str:
        """A device of the tenant, shared with whoever gets a share."""
        self.members.register(self.tenant_id, device_id)
        for permission in ("view", "switch", "manage"):
            user_id = self.people[f"share:{permission}"].user_id
            self.application.sockets.share(device_id, user_id, permission, self.members.cause())
        return device_id

    def ids_for(self, kind: Kind) -> Mapping[str, Any]:
        """What stands in paths; all of it exists."""
        own = self.person_of(kind)
        return self.ids | {"own_id": self.guest.user_id if own is None else own.user_id}

    def person_of(self, kind: Kind) -> Member | None:
        """Who is behind it."""
        name = kind.name
        if kind.scope is not None:
            name = "admin" if "admin" in kind.grants else "owner"
        return self.people.get(name)

    async def client(self, kind: Kind, *, fresh: bool = False) -> httpx.AsyncClient:
        if fresh or kind.name not in self._clients:
            client = httpx.AsyncClient(base_url=self.api.base_url, timeout=30)
            if kind.name in self.tokens:
                client.headers.update(bearer(self.tokens[kind.name]))
            elif kind.name in self.people:
                await sign_in(client, self.people[kind.name])
            if kind.name in self._clients:
                await self._clients[kind.name].aclose()
            self._clients[kind.name] = client
        return self._clients[kind.name]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _tenant_to_leave(self) -> str:
        return self.application.tenancy.found(self.members.cause(), name="Left", owner_id=self.owner.user_id)[0]

    def _tokens(self) -> dict[str, str]:
        tokens = {
            kind.name: self.members.token_of(person, kind.scope)
            for kind in KINDS
            if kind.scope is not None and (person := self.person_of(kind)) is not None
        }
        devices = {"device": self.device_id, "device next door": "next-door"}
        return tokens | {name: self.members.device_tokens[device_id] for name, device_id in devices.items()}

    def _ids(self) -> dict[str, Any]:
        cause = self.members.cause()
        command = self.application.sockets.request(self.device_id, Order("toggle"), cause)
        invitation = self.application.tenancy.invite(self.tenant_id, "viewer", cause)
        token = self.application.accounts.issue_api_token(
            self.guest.user_id, cause, label="x", scope="read", expires_at=cause.at + timedelta(days=1)
        )
        return {
            "user_id": self.guest.user_id,
            "token_id": token.token_id,
            "invitation_id": invitation.invitation_id,
            "command_id": command.command_id,
            "topic": "dead-letters",
            "partition": 0,
            "offset": 0,
            "event_type": "wattaway.device-shared.v1",
            "name": "app.js",
            "board": "uart-cse7766",
            "counter": 3,
            "sha256": "0" * 64,
        }


@asynccontextmanager
async def asked(client: httpx.AsyncClient, method: str, path: str, body: Any) -> AsyncIterator[httpx.Response]:
    """The answer; of a stream, its beginning."""
    if method == "WEBSOCKET":
        yield await _websocket(client, path)
        return
    content: dict[str, Any] = {} if body is None else {"json": body}
    if isinstance(body, bytes):
        content = {"content": body, "headers": {"Content-Type": "text/csv"}}
    parameters = {"device": "lamp"} if path.endswith("/latest") else {}
    if path.endswith("/device/firmware"):
        parameters = {"board": "uart-cse7766", "counter": "1"}
    async with client.stream(method, path, params=parameters, **content) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
        yield answer


async def _websocket(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """How the handshake went."""
    headers = {name: client.headers[name] for name in ("Authorization",) if name in client.headers}
    if client.cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    url = str(client.base_url).replace("http", "ws", 1).rstrip("/") + path
    try:
        async with connect(url, additional_headers=headers):
            return httpx.Response(101)
    except InvalidStatus as refused:
        answer = refused.response
        headers = {"Content-Type": answer.headers.get("Content-Type", "")}
        return httpx.Response(answer.status_code, headers=headers, content=bytes(answer.body or b""))
