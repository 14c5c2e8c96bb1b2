"""People in front of a test's API: an application on the test's own event store, with passwords that cost little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import httpx
from argon2 import PasswordHasher
from sqlalchemy import insert, select

from bridges.event_store import EventDatabase, EventStoreFactory
from bridges.event_store_tables import event_sequence, metadata
from bridges.image_store import SqlImageStore
from domain.clock import Clock, SystemClock, to_instant
from domain.firmware_keys import TrustedKey
from domain.lifecycle.accounts import Accounts
from domain.lifecycle.cause import Cause
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.personal import Personal
from domain.lifecycle.publishing import Publishing
from domain.lifecycle.sockets import NewDevice, Sockets
from domain.lifecycle.tenancy import Tenancy
from domain.lifecycle.users import Scope
from ops.application import Application
from ops.settings import Settings
from ops.wiring import key_store
from projections.dialect import read_engine, write_engine


class CountingHasher(PasswordHasher):
    """Cheap, and tells how much work was done."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.hashed = self.verified = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.hashed += 1
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002 - the library's name
        self.verified += 1
        return super().verify(hash, password)


@contextmanager
def cheap_application(
    settings: Settings, hasher: PasswordHasher, firmware_keys: Sequence[TrustedKey] = ()
) -> Iterator[Application]:
    """An application whose tables need no migration."""
    url = settings.resolved_event_store_url()
    engines = (write_engine(url), read_engine(url))
    metadata.create_all(engines[0])
    with engines[0].begin() as connection:
        if connection.execute(select(event_sequence)).first() is None:
            connection.execute(insert(event_sequence), [{"name": "stored_events", "last_id": 0}])
    database = EventDatabase(*engines)
    personal, lifecycle = Personal(key_store(settings, database)), Lifecycle(EventStoreFactory(None, database))
    accounts = Accounts(lifecycle, personal, b"n" * 32, hasher=hasher)
    try:
        tenancy, sockets = Tenancy(lifecycle, personal), Sockets(lifecycle, personal)
        firmware = Publishing(lifecycle, SqlImageStore(database, SystemClock()), firmware_keys)
        yield Application(database, lifecycle, personal, accounts, tenancy, sockets, firmware)
    finally:
        lifecycle.close()
        for engine in engines:
            engine.dispose()


@dataclass(frozen=True)
class Member:
    """A user with a tenant of their own."""

    user_id: str
    tenant_id: str
    email: str
    password: str


class Members:
    """Makes users, tokens and devices behind the API's back."""

    def __init__(self, application: Application, clock: Clock) -> None:
        self.application, self._clock = application, clock
        self.device_tokens: dict[str, str] = {}

    def cause(self, actor: str = "system:test") -> Cause:
        return Cause(to_instant(self._clock.now_ms()), actor, str(uuid4()))

    def sign_up(self, name: str) -> Member:
        """A user `name`; the first one is the site's admin."""
        email, password = f"{name}@example.org", f"{name}'s long password"
        home = f"{name}'s home"
        new = self.application.accounts.sign_up(
            self.cause(), email=email, name=name, password=password, tenant_name=home
        )
        assert new.tenant_id is not None
        return Member(new.user_id, new.tenant_id, email, password)

    def token_of(self, member: Member, scope: Scope = "manage", *, lives: timedelta = timedelta(days=30)) -> str:
        """A new API token of theirs."""
        cause = self.cause()
        return self.application.accounts.issue_api_token(
            member.user_id, cause, label="test", scope=scope, expires_at=cause.at + lives
        ).token

    def register(self, tenant_id: str, *device_ids: str) -> None:
        """Devices of a tenant, called by their ids."""
        new = [NewDevice(device_id, device_id) for device_id in device_ids]
        registered, _ = self.application.sockets.register(tenant_id, new, self.cause())
        self.device_tokens.update((one.device_id, one.token) for one in registered)


async def sign_in(client: httpx.AsyncClient, member: Member) -> None:
    """Give a client the cookie of a new session, and its CSRF token."""
    answer = await client.post("/api/v1/session", json={"email": member.email, "password": member.password})
    assert answer.status_code == 201, answer.text
    client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
