"""Work of many devices at once, that of one device strictly one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

Job = Callable[[], Awaitable[None]]


class Lanes:
    """A lane for each device that has work; so many workers go from lane to lane.

    Args:
        most_waiting: beyond so many jobs `has_room` waits.
    """

    def __init__(self, workers: int, *, most_waiting: int = 2000) -> None:
        self._workers, self._most_waiting = workers, most_waiting
        self._lanes: dict[str, deque[Job]] = {}
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._waiting = 0
        self._room, self._idle = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._idle.set()

    def put(self, lane: str, job: Job) -> None:
        """Do `job` after all that was put into this lane before."""
        jobs = self._lanes.get(lane)
        if jobs is None:
            self._lanes[lane] = deque((job,))
            self._ready.put_nowait(lane)
        else:
            jobs.append(job)
        self._waiting += 1
        self._idle.clear()
        if self._waiting >= self._most_waiting:
            self._room.clear()

    async def has_room(self) -> None:
        """Return once more work may come."""
        await self._room.wait()

    async def idle(self) -> None:
        """Return once all work is done."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            lane = await self._ready.get()
            jobs = self._lanes[lane]
            try:
                await jobs[0]()
            except Exception as error:
                # A defect, or an event that nobody can read: it must not hold up everybody else.
                log.exception("job given up", device_id=lane, error=str(error)[:200])
            jobs.popleft()
            self._one_done()
            if jobs:
                self._ready.put_nowait(lane)
            else:
                del self._lanes[lane]

    def _one_done(self) -> None:
        self._waiting -= 1
        if self._waiting <= self._most_waiting // 2:
            self._room.set()
        if not self._waiting:
            self._idle.set()
