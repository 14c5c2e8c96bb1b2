"""What unit tests of accounts and sockets share: an event store and a key store in memory, and a cause."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from argon2 import PasswordHasher
from eventsourcing.persistence import ApplicationRecorder, RecordConflictError, StoredEvent
from eventsourcing.popo import POPOApplicationRecorder, POPOFactory

from api.deciding import Application
from api.people import People
from domain.errors import RuleBroken
from domain.firmware_keys import TrustedKey
from domain.lifecycle.access import Access
from domain.lifecycle.accounts import Accounts
from domain.lifecycle.cause import Cause
from domain.lifecycle.departure import Departure, Farewell, plan_departure
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.personal import Personal
from domain.lifecycle.publishing import Publishing
from domain.lifecycle.sockets import Sockets
from domain.lifecycle.tenancy import Tenancy
from domain.ports import AsOf, Beside

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def cause(actor: str = "user:test", *, after_s: float = 0) -> Cause:
    """Somebody, so long after noon."""
    return Cause(NOW + timedelta(seconds=after_s), actor, str(uuid4()))


class KeysInMemory:
    """A key store that forgets when the test ends."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.names: dict[str, str] = {}

    def make(self, subject: str) -> bytes:
        return self.keys.setdefault(subject, secrets.token_bytes(32))

    def find(self, subject: str) -> bytes | None:
        return self.keys.get(subject)

    def forget(self, subject: str) -> None:
        self.keys.pop(subject, None)
        self.names = {name: user for name, user in self.names.items() if f"user:{user}" != subject}

    def forgetting(self, subject: str) -> Beside:
        return lambda _connection: self.forget(subject)

    def reserving(self, name_hash: str, user_id: str) -> Beside:
        def reserve(_connection: object) -> None:
            if self.names.get(name_hash, user_id) != user_id:
                raise RuleBroken("name-taken", "somebody else signs in with this")
            self.names = {name: user for name, user in self.names.items() if user != user_id} | {name_hash: user_id}

        return reserve

    def user_of_name(self, name_hash: str) -> str | None:
        return self.names.get(name_hash)


class _Recorder(POPOApplicationRecorder):
    """The library's, with what is done beside the events; that comes first, as it cannot be undone."""

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        beside: Sequence[Beside] = (),
        as_of: AsOf | None = None,
        **kwargs: Any,
    ) -> Sequence[int] | None:
        if as_of is not None and self.select_notifications(as_of.position + 1, 1, topics=as_of.topics):
            raise RecordConflictError
        for change in beside:
            change(None)
        return super().insert_events(stored_events, **kwargs)


class _Factory(POPOFactory):
    def application_recorder(self) -> ApplicationRecorder:
        return _Recorder()


class ImagesInMemory:
    """An image store that forgets when the test ends."""

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}

    def put(self, sha256: str, content: bytes) -> None:
        self.images.setdefault(sha256, content)

    def find(self, sha256: str) -> bytes | None:
        return self.images.get(sha256)


class Parts:
    """The application services over one store in memory."""

    def __init__(self, firmware_keys: Sequence[TrustedKey] = ()) -> None:
        self.keys = KeysInMemory()
        self.pauses: list[float] = []
        self.lifecycle = Lifecycle(_Factory({}), pause=self.pauses.append)
        self.personal = Personal(self.keys)
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.accounts = Accounts(self.lifecycle, self.personal, b"k" * 32, hasher=cheap)
        self.tenancy = Tenancy(self.lifecycle, self.personal)
        self.sockets = Sockets(self.lifecycle, self.personal)
        self.images = ImagesInMemory()
        self.firmware = Publishing(self.lifecycle, self.images, firmware_keys)
        self.people = People(self.personal)

    def sign_up(self, name: str) -> tuple[str, str]:
        """A user and their tenant."""
        new = self.accounts.sign_up(
            cause("anonymous"),
            email=f"{name}@example.org",
            name=name,
            password=f"{name}'s long password",
            tenant_name=f"{name}'s home",
        )
        return new.user_id, new.tenant_id

    def access(self) -> Access:
        """The fold of all there is."""
        return access_of(self)[0]

    def plan_departure(self, user_id: str) -> Departure:
        """What it takes to forget this user now."""
        access, position = access_of(self)
        return plan_departure(access, user_id, position)

    def carry_out(self, departure: Departure) -> None:
        Farewell(self.lifecycle, self.personal).carry_out(departure, cause())

    def stored(self) -> bytes:
        """Every byte in the event store."""
        return b"\n".join(one.state for one in self.lifecycle.recorder.select_notifications(1, 100_000))


def access_of(application: Application) -> tuple[Access, int]:
    """The fold of all there is, and how far the log has been read for it."""
    access, position = Access(), 0
    for notification in application.lifecycle.log_recorder.select_notifications(1, 100_000):
        access.apply(application.lifecycle.mapper.to_domain_event(notification))
        position = notification.id
    return access, position


def forget(application: Application, user_id: str) -> None:
    """Forget somebody who is needed by nobody."""
    access, position = access_of(application)
    farewell = Farewell(application.lifecycle, application.personal)
    farewell.carry_out(plan_departure(access, user_id, position), cause())
