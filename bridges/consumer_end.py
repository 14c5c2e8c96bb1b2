"""Ends a Kafka consumer in time and leaves nothing of it behind, also while Kafka stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

log = structlog.get_logger()

CLOSE_WITHIN_S = 1.5


async def end_consumer(consumer: Any) -> None:
    """Stop a consumer, and break off what does not end in time.

    In a task of its own: aiokafka's `stop` may let out a cancellation that it meant for its own fetches, and then its
    connections stay open.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=CLOSE_WITHIN_S)
    if stopping.done() and not stopping.cancelled():
        if (error := stopping.exception()) is None:
            return
        # Its connections are still open.
        log.info("consumer did not stop in order", detail=str(error) or type(error).__name__)
    stopping.cancel()
    left = [task for task in _tasks_of(consumer) if task.cancel()]
    await asyncio.wait({stopping, *left}, timeout=CLOSE_WITHIN_S)
    closing = asyncio.ensure_future(consumer._client.close())
    await asyncio.wait({closing}, timeout=CLOSE_WITHIN_S)


def _tasks_of(consumer: Any) -> list[asyncio.Task[Any]]:
    """What aiokafka runs for it. A heartbeat that went on would keep the partitions of who has left."""
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
    own = [getattr(consumer._coordinator, name, None) for name in names]
    fetches = [] if consumer._fetcher is None else consumer._fetcher._pending_tasks
    return [*(task for task in own if task is not None), *fetches]
