"""What sockets answer to commands: each answer is decided about once, whichever way it comes first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from bridges.command_decisions import take_answer
from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.patient_lifecycle import PatientLifecycle
from domain.clock import Clock, to_instant
from domain.events import CommandReported

log = structlog.get_logger()

_MOST_REMEMBERED = 10_000


class Answers:
    """Lets commands take their answers, and remembers which were taken."""

    def __init__(
        self, deciding: PatientLifecycle, metrics: DispatcherMetrics, clock: Clock, on_step: Callable[[str], None]
    ) -> None:
        self._deciding, self._metrics, self._clock, self._on_step = deciding, metrics, clock, on_step
        self._taken: dict[tuple[str, str], None] = {}

    def has_taken(self, report: CommandReported) -> bool:
        """Whether nothing is left to do for it."""
        return (report.device_id, report.command_id) in self._taken

    async def take(self, report: CommandReported, correlation_id: str | None) -> None:
        """Store an answer, however long that takes, if it answers a command of that device.

        Args:
            correlation_id: the request's; None: it is read from the request.
        """
        at = to_instant(self._clock.now_ms())
        answered = await self._deciding.run(partial(take_answer, report, at, correlation_id))
        if answered is None:
            self._metrics.ignored.inc()
            log.warning("answer to no command", device_id=report.device_id, command_id=report.command_id[:64])
            return
        self._on_step("answer stored")
        self._remember(report)
        if answered.is_news:
            self._metrics.ended.labels(answered.ended).inc()
            if answered.dispatched_at is not None:
                self._metrics.dispatched_to_answered.observe(max((at - answered.dispatched_at).total_seconds(), 0))

    def _remember(self, report: CommandReported) -> None:
        self._taken[report.device_id, report.command_id] = None
        if len(self._taken) > _MOST_REMEMBERED:
            del self._taken[next(iter(self._taken))]
