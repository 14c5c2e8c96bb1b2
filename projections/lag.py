"""How many records of the log are not in SQL yet: asked beside the batches, of which one may stand still for long."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from projections.folded import Place
from projections.positions import Position

log = structlog.get_logger()

_EVERY_S = 2.0
_WITHIN_S = 5.0


class LagWatch:
    """Keeps the gauge true, as far as Kafka says where the log ends."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self.positions: Mapping[Place, Position] = {}
        """Of the newest tenure. They stay when it is over, for the next cannot begin while SQL is away."""

    async def watch(self, consumer: Any) -> None:
        """Look again and again, over this consumer's connections, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_WITHIN_S):
                    await self._look(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                log.info("lag not known", detail=str(error) or type(error).__name__)
            except Exception:
                log.exception("lag not known")
            await asyncio.sleep(_EVERY_S)

    async def _look(self, consumer: Any) -> None:
        # The fetcher's own highwater marks stand still while nobody takes what was fetched.
        ends = await consumer.end_offsets([TopicPartition(*place) for place in self.positions])
        reached = {TopicPartition(*place): position.next_offset for place, position in self.positions.items()}
        self._gauge.set(sum(max(end - reached.get(place, end), 0) for place, end in ends.items()))
