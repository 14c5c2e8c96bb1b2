"""Decisions in threads, tried again through outages of the database and when others were faster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import structlog
from eventsourcing.persistence import InterfaceError, OperationalError, RecordConflictError

from domain.backoff import Backoff
from domain.errors import DependencyUnavailable
from domain.lifecycle.entity import Entity
from domain.lifecycle.lifecycle import Lifecycle

log = structlog.get_logger()

E = TypeVar("E", bound=Entity)
R = TypeVar("R")


class PatientLifecycle:
    """A `Lifecycle` for a loop.

    Args:
        threads: so many decisions are under way at most.
        on_retry: told of every try that failed.
    """

    def __init__(self, lifecycle: Lifecycle, *, threads: int, on_retry: Callable[[], None]) -> None:
        self._lifecycle, self._on_retry = lifecycle, on_retry
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="deciding")

    async def change(self, kind: type[E], aggregate_id: UUID, decide: Callable[[E], R]) -> R:
        """What `decide` says of the aggregate, once that is stored; it may be asked several times.

        Raises:
            Missing: there is no such aggregate.
        """
        return await self.run(lambda lifecycle: lifecycle.change(kind, aggregate_id, decide)[0])

    async def run(self, work: Callable[[Lifecycle], R]) -> R:
        """What `work` returns, once it does not fail for want of the database or for a faster one."""
        backoff = Backoff()
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, work, self._lifecycle)
            except (DependencyUnavailable, RecordConflictError, OperationalError, InterfaceError) as error:
                self._on_retry()
                log.warning("decision tried again", reason=str(error)[:200])
            await asyncio.sleep(backoff.delay_s())

    def close(self) -> None:
        """Take no more work; what is under way in a thread ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
