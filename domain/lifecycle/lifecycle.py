"""The application of `eventsourcing`: loads aggregates, lets them decide, stores their events, or tries again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application, Repository
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    InterfaceError,
    Mapper,
    OperationalError,
    RecordConflictError,
)
from eventsourcing.utils import Environment

from domain.backoff import Backoff
from domain.errors import DependencyUnavailable, Missing
from domain.lifecycle.devices import Device
from domain.lifecycle.entity import Entity
from domain.lifecycle.mapping import PlainJsonMapper
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.users import User
from domain.ports import AsOf, Beside

E = TypeVar("E", bound=Entity)
R = TypeVar("R")

_TRIES = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.05
_SNAPSHOT_EVERY = 50


class Lifecycle(Application[UUID]):
    """The one way to decide something. Blocking: call it in a thread.

    Args:
        factory: makes the recorders of one event store.
        pause: waits for so many seconds; tests need not.
    """

    name = "lifecycle"
    snapshotting_intervals: ClassVar[dict[Any, int]] = {
        User: _SNAPSHOT_EVERY,
        Tenant: _SNAPSHOT_EVERY,
        Device: _SNAPSHOT_EVERY,
    }

    def __init__(self, factory: InfrastructureFactory[Any], *, pause: Callable[[float], None] = time.sleep) -> None:
        self._given_factory, self._pause = factory, pause
        super().__init__({"IS_SNAPSHOTTING_ENABLED": "y"})
        # Asking for snapshots that nobody takes would be a round trip for every decision about a command.
        self._without_snapshots = Repository(self.events)

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        self._given_factory.env = env
        return self._given_factory

    def construct_mapper(self) -> Mapper[UUID]:
        return PlainJsonMapper(self.construct_transcoder())

    @property
    def log_recorder(self) -> ApplicationRecorder:
        """The notification log: every event in the order of the commits, without gaps."""
        return self.recorder

    def find(self, kind: type[E], aggregate_id: UUID) -> E | None:
        """The aggregate as it is now; None if there is none.

        Raises:
            DependencyUnavailable: the database is out of reach.
        """
        repository = self.repository if kind in self.snapshotting_intervals else self._without_snapshots
        try:
            found: E = repository.get(aggregate_id)
        except AggregateNotFoundError:
            return None
        except (OperationalError, InterfaceError) as error:
            raise DependencyUnavailable("database", str(error)) from error
        return found if isinstance(found, kind) else None

    def load(self, kind: type[E], aggregate_id: UUID) -> E:
        """The same, but raises `Missing` if there is none."""
        found = self.find(kind, aggregate_id)
        if found is None:
            raise Missing(f"unknown-{kind.__name__.lower()}", f"no such {kind.__name__.lower()}")
        return found

    def as_of_now(self, *event_classes: Any) -> AsOf:
        """For `store`: none of these events may have been decided between now and then. Ask before you load."""
        topics = tuple(event_class.TOPIC for event_class in event_classes)
        return AsOf(self.recorder.max_notification_id() or 0, topics)

    def store(self, *aggregates: Entity, beside: Sequence[Beside] = (), as_of: AsOf | None = None) -> int:
        """Store what these have decided, all or nothing; the newest notification id (0: nothing was decided).

        Args:
            beside: what is done in the same transaction.
            as_of: what must not have been decided meanwhile.
        Raises:
            RecordConflictError: one of them was changed meanwhile, or exists already, or `as_of` no longer holds.
            DependencyUnavailable: the database is out of reach.
            Whatever `beside` raises: then nothing is stored.
        """
        try:
            recordings = self.save(*aggregates, beside=beside, as_of=as_of)
        except (OperationalError, InterfaceError) as error:
            raise DependencyUnavailable("database", str(error)) from error
        return max((recording.notification.id for recording in recordings), default=0)

    def change(
        self,
        kind: type[E],
        aggregate_id: UUID,
        decide: Callable[[E], R],
        *,
        beside: Sequence[Beside] = (),
        about: str | None = None,
    ) -> tuple[R, int]:
        """Let one aggregate decide, from the start again if it was changed meanwhile; the result, and `store`'s.

        Args:
            beside: what is done in the same transaction.
            about: the user who is given something by it, who must not be forgotten meanwhile.
        Raises:
            Missing: there is no such aggregate, or no such user any more.
            RecordConflictError: others were faster several times in a row.
            Whatever `decide` or `beside` raises.
        """

        def change() -> tuple[R, int]:
            as_of = None if about is None else self._while_known(about)
            aggregate = self.load(kind, aggregate_id)
            result = decide(aggregate)
            return result, self.store(aggregate, beside=beside, as_of=as_of)

        return self.retry(change)

    def _while_known(self, user_id: str) -> AsOf:
        as_of = self.as_of_now(User.Forgotten)
        self.load(User, UUID(user_id)).check_known()
        return as_of

    def retry(self, work: Callable[[], R]) -> R:
        """What `work` returns, from its start again while others change the same.

        Raises:
            RecordConflictError: others were faster several times in a row.
        """
        backoff = Backoff(first_s=_FIRST_PAUSE_S, most_s=_LONGEST_PAUSE_S)
        for _ in range(_TRIES - 1):
            with suppress(RecordConflictError):
                return work()
            # Or those who met once meet again, try by try.
            self._pause(backoff.delay_s())
        return work()
