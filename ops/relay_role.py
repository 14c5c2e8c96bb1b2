"""The relay role put together from the settings: the wiring's part for the event store's way to Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy import Engine

from bridges.event_store import EventDatabase
from bridges.run_relay import HintSource, run_relay
from ops.settings import Settings
from ops.wiring import event_engines, event_lineage, kafka_server, spare_the_collector, stop_on_signals
from projections.dialect import translated_errors
from projections.sole_work import sole
from projections.topic_ids import describe_topics

# Then another one carries on; what a frozen one does when it wakes is fenced by its position.
_FROZEN_S = 8


async def serve_relay_role(settings: Settings, on_step: Callable[[str], None]) -> None:
    """Carry the event store's log to Kafka until SIGTERM."""
    writing, reading = await asyncio.to_thread(event_engines, settings)
    spare_the_collector()
    await run_relay(
        EventDatabase(writing, reading),
        kafka_server(settings),
        HintSource(settings.resolved_redis_url(), settings.redis_prefix),
        alone=partial(_alone, writing, event_lineage(settings).setting),
        topic_id=partial(_topic_id, settings.kafka_bootstrap),
        metrics_port=settings.relay_metrics_port,
        metrics_host=settings.metrics_host,
        stop=stop_on_signals(),
        on_step=on_step,
    )


@contextmanager
def _alone(engine: Engine, setting: str) -> Iterator[bool]:
    with translated_errors(setting), sole(engine, "relay", frozen_s=_FROZEN_S) as held:
        yield held is not None


async def _topic_id(bootstrap: str, topic: str) -> str:
    return (await describe_topics(bootstrap, [topic]))[topic].topic_id
