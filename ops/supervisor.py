"""Keeps children running: starts them in the order of their dependencies, restarts what dies, stops them in reverse."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from domain.errors import DependencyUnavailable, SettingInvalid, WattAwayError
from ops.backoff import Backoff
from ops.child import Child, ChildFailed, ChildSpec

log = structlog.get_logger()

_POLL_S = 0.1
SETTING_INVALID_EXIT_CODE = 2
"""What a role ends with when a setting is wrong: starting it again would not help."""


class State(StrEnum):
    """Where a child is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass
class Supervised:
    """One child and what became of it."""

    child: Child
    backoff: Backoff
    state: State = State.WAITING
    restarts: int = 0
    since: float = field(default_factory=time.monotonic)
    last_exit: str = ""
    answered_once: bool = False
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def spec(self) -> ChildSpec:
        return self.child.spec

    def enter(self, state: State) -> None:
        self.state, self.since = state, time.monotonic()


class Supervisor:
    """The children of one `wattaway up`.

    Args:
        specs: what to run; each starts once those it names in `after` answer.
        first_failures: how often a child may fail before it ever answered, until all is given up.
        on_pids: told the process ids whenever they change, to find leftovers after this process was killed.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        backoff: Callable[[], Backoff] = Backoff,
        first_failures: int = 3,
        on_pids: Callable[[dict[str, int]], None] = lambda _pids: None,
    ) -> None:
        self.children = {spec.name: Supervised(Child(spec), backoff()) for spec in specs}
        self._first_failures = first_failures
        self._on_pids = on_pids
        self._failure: WattAwayError | None = None

    async def run(self) -> None:
        """Run until `stop`; returns when every child is gone.

        Raises:
            SettingInvalid, ChildFailed: a child that never answered cannot be started.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for supervised in self.children.values():
                    tasks.create_task(self._keep(supervised), name=supervised.spec.name)
        finally:
            self.kill_all()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begin to stop: those nobody depends on first."""
        for supervised in self.children.values():
            supervised.stopping.set()

    async def stop_child(self, name: str) -> int | None:
        """Stop one child that no other depends on; its exit code."""
        supervised = self.children[name]
        supervised.stopping.set()
        await supervised.stopped.wait()
        return supervised.child.exit_code()

    def kill_all(self) -> None:
        """`kill -9` whatever still runs."""
        for supervised in self.children.values():
            supervised.child.kill()

    async def answering(self, names: Sequence[str]) -> None:
        """Return once these children answer."""
        for name in names:
            await self.children[name].answers.wait()

    # --- one child ------------------------------------------------------------------------------------------

    async def _keep(self, supervised: Supervised) -> None:
        try:
            await _unless(supervised.stopping, self.answering(self._dependencies(supervised)))
            while not supervised.stopping.is_set():
                await self._run_once(supervised)
        except (SettingInvalid, DependencyUnavailable) as error:
            self._failure = self._failure or error
            self.stop()
        finally:
            await self._stop(supervised)

    def _dependencies(self, supervised: Supervised) -> list[str]:
        return [name for name in supervised.spec.after if name in self.children]

    async def _run_once(self, supervised: Supervised) -> None:
        started = time.monotonic()
        supervised.enter(State.STARTING)
        failure = await self._start(supervised)
        if not failure:
            failure = await self._watch(supervised)
        supervised.answers.clear()
        if supervised.stopping.is_set():
            return
        self._judge(supervised, failure)
        pause_s = supervised.backoff.pause_s(time.monotonic() - started)
        supervised.restarts += 1
        supervised.last_exit = failure
        supervised.enter(State.BACKING_OFF)
        log.warning("child restarts", child=supervised.spec.name, why=failure, pause_s=round(pause_s, 2))
        await _unless(supervised.stopping, asyncio.sleep(pause_s))

    async def _start(self, supervised: Supervised) -> str:
        """Start it and wait for its answer; what went wrong, or an empty string."""
        child, spec = supervised.child, supervised.spec
        try:
            await asyncio.to_thread(spec.prepare)
            if supervised.stopping.is_set():
                return ""
            child.spawn()
        except (OSError, DependencyUnavailable) as error:
            return str(error)
        self._tell_pids()
        deadline = time.monotonic() + spec.ready_within_s
        while not await asyncio.to_thread(spec.is_ready):
            if supervised.stopping.is_set():
                return ""
            if not child.is_running():
                return _obituary(child)
            if time.monotonic() > deadline:
                child.kill()
                return f"no answer within {spec.ready_within_s:g} s{child.last_words()}"
            await asyncio.sleep(_POLL_S)
        supervised.answered_once = True
        supervised.enter(State.RUNNING)
        supervised.answers.set()
        log.info("child answers", child=spec.name, pid=child.pid)
        return ""

    async def _watch(self, supervised: Supervised) -> str:
        """Return when it ended, or when all is to stop."""
        while supervised.child.is_running():
            if supervised.stopping.is_set():
                return ""
            await asyncio.sleep(_POLL_S)
        self._tell_pids()
        return _obituary(supervised.child)

    def _judge(self, supervised: Supervised, failure: str) -> None:
        """Raise if starting this child again cannot help."""
        if supervised.answered_once:
            return
        if supervised.child.exit_code() == SETTING_INVALID_EXIT_CODE:
            raise SettingInvalid(f"{supervised.spec.name} does not start: {failure}")
        if supervised.restarts + 1 >= self._first_failures:
            raise ChildFailed(supervised.spec.name, f"it failed {supervised.restarts + 1} times: {failure}")

    async def _stop(self, supervised: Supervised) -> None:
        """Wait for those that depend on it, then SIGTERM, then SIGKILL once its time is over."""
        for other in self.children.values():
            if supervised.spec.name in other.spec.after:
                await other.stopped.wait()
        supervised.enter(State.STOPPING)
        await asyncio.to_thread(supervised.child.stop)
        supervised.enter(State.STOPPED)
        supervised.stopped.set()
        self._tell_pids()

    def _tell_pids(self) -> None:
        running = {name: one.child.pid for name, one in self.children.items() if one.child.is_running()}
        try:
            self._on_pids({name: pid for name, pid in running.items() if pid is not None})
        except OSError as error:
            # A full disk: leftovers of a kill -9 would not be found, but what runs goes on.
            log.warning("process ids not stored", why=str(error))


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, but drop it when all is to stop."""
    tasks = {asyncio.ensure_future(stopping.wait()), asyncio.ensure_future(work)}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()


def _obituary(child: Child) -> str:
    code = child.exit_code() or 0
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return how + child.last_words()
