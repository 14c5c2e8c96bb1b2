"""The projector as a Faust app: a service fetches whole batches of the log, an agent projects them.

Faust's own consumer stays off: its cost per event and its acknowledging of failed events are not what the log needs
(docs/adr). The agent sees a batch as one event, through an in-memory channel that holds one.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import faust
import structlog
from faust.app.base import BootStrategy
from sqlalchemy import Engine

from domain.clock import Clock, SystemClock
from domain.errors import DependencyUnavailable, SettingInvalid, WattAwayError
from projections.break_off import Breaker
from projections.dialect import snapshot_engine, translated_errors, write_engine
from projections.latest_views import LatestViews
from projections.log_consumer import LogConsumer, LogSource
from projections.metrics import ProjectorMetrics
from projections.options import ProjectorOptions, redis_client
from projections.partitions import add_partitions
from projections.projector import Batch, Projector
from projections.recompute import recompute_closed
from projections.schema import check_schema
from projections.store import Step, Store
from projections.tables import read_model
from projections.views_keeper import ViewsKeeper

log = structlog.get_logger()

_ROLLUPS_EVERY_S = 2.0
_PARTITIONS_EVERY_S = 3600.0
_STOP_WITHIN_S = 8.0


async def run_projector(
    source: LogSource,
    options: ProjectorOptions,
    *,
    stop: asyncio.Event,
    clock: Clock | None = None,
    on_step: Step = lambda _step: None,
) -> None:
    """Project the log until `stop` is set, then finish the batch at hand and return.

    Raises:
        SettingInvalid: the database is not migrated or lets us in no more, or the metrics port is in use.
        DependencyUnavailable: the database does not answer at the start; later outages are waited for.
        LogReplaced: the stored positions belong to another log.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as held:
        engine = write_engine(options.database_url)
        reader = snapshot_engine(options.database_url)
        breakers = [Breaker(engine), Breaker(reader)]
        held.callback(engine.dispose)
        held.callback(reader.dispose)
        await asyncio.to_thread(_check_database, engine)
        client = await held.enter_async_context(redis_client(options.redis_url))
        views = LatestViews(client, options.redis_prefix)
        metrics = ProjectorMetrics()
        store = Store(engine, read_model(), source.group, clock, on_step=on_step)
        projector = Projector(store, views, clock, metrics, prefix=source.prefix, on_step=on_step)
        keeper = ViewsKeeper(projector, reader, read_model(), views, metrics)
        chores = _Chores(engine, ZoneInfo(options.time_zone), clock, metrics)
        app = _ProjectorApp(source, projector, engine, metrics, [keeper.keep_views, *chores.all()], breakers)
        await app.serve(stop, lambda: held.enter_context(metrics.served(options.metrics_host, options.metrics_port)))


def _check_database(engine: Engine) -> None:
    with translated_errors():
        check_schema(engine)


class _NoKafka(BootStrategy):
    enable_kafka = False


class _ProjectorApp:
    """Builds the Faust app and runs it in the present loop."""

    def __init__(
        self,
        source: LogSource,
        projector: Projector,
        engine: Engine,
        metrics: ProjectorMetrics,
        chores: list[Callable[[], Any]],
        breakers: list[Breaker],
    ) -> None:
        self._projector, self._breakers = projector, breakers
        self._over: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._consuming: asyncio.Task[Any] | None = None
        self._ready = asyncio.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="wattaway-faust-")
        self._app = faust.App(
            source.group,
            loop=asyncio.get_running_loop(),
            broker=f"kafka://{source.bootstrap}",
            store="memory://",
            web_enabled=False,
            datadir=Path(self._folder.name),
        )
        self._app.boot_strategy = _NoKafka(self._app)
        self._channel = self._app.channel(maxsize=1)
        self._consumer = LogConsumer(
            source, projector, engine, read_model(), metrics, hand_on=self._hand_on, on_ready=self._ready.set
        )
        self._app.agent(self._channel, name="project")(self._project)
        self._app.task(self._consume)
        for chore in chores:
            self._app.task(chore)

    async def _hand_on(self, batch: Batch) -> None:
        await self._channel.send(value=batch)

    async def _project(self, batches: Any) -> None:
        async for batch in batches:
            try:
                await self._projector.project(batch)
            except SettingInvalid as error:
                # It must not reach Faust, which would take the batch for done and go on with the next.
                self._end_with(error)
                return

    async def _consume(self) -> None:
        self._consuming = asyncio.create_task(self._consumer.consume())
        # However it ends, and a stray cancellation inside aiokafka is one way: without it the role is over.
        self._consuming.add_done_callback(self._consuming_ended)
        await asyncio.wait({self._consuming})

    def _consuming_ended(self, consuming: asyncio.Task[None]) -> None:
        error = None if consuming.cancelled() else consuming.exception()
        self._end_with(error or DependencyUnavailable("kafka", "the log consumer was broken off"))

    def _end_with(self, error: BaseException) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    async def serve(self, stop: asyncio.Event, on_ready: Callable[[], object]) -> None:
        """Run the app until `stop` or until it cannot go on."""
        stopping: asyncio.Future[Any] = asyncio.create_task(stop.wait())
        ready: asyncio.Future[Any] = asyncio.create_task(self._ready.wait())
        try:
            await self._app.start()
            # Without Kafka of its own, nobody else opens the gate of Faust's channels.
            self._app.flow_control.resume()
            await asyncio.wait({stopping, ready, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                on_ready()
                log.info("projector ready")
            await asyncio.wait({stopping, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if self._over.done():
                self._over.result()
        finally:
            for task in (stopping, ready):
                task.cancel()
            await self._stop()

    async def _stop(self) -> None:
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._drain()
        except TimeoutError:
            # Harmless: what is not committed is folded again at the next start.
            log.warning("stopped before all was drained", after_s=_STOP_WITHIN_S)
        # Faust has made a consumer all the same, with a thread (never started) and that one's loop.
        self._app.consumer._thread.thread_loop.close()  # type: ignore[attr-defined]
        self._folder.cleanup()

    async def _drain(self) -> None:
        self._over.cancel()
        if self._consuming is not None:
            # First of all: it lets the batch at hand end.
            self._consuming.cancel()
            _, going_on = await asyncio.wait({self._consuming}, timeout=_STOP_WITHIN_S / 2)
            if going_on:
                log.warning("log consumer not waited for", after_s=_STOP_WITHIN_S / 2)
        for breaker in self._breakers:
            breaker.break_off()
        await self._app.stop()


class _Chores:
    """What is done every now and then beside the batches."""

    def __init__(self, engine: Engine, zone: ZoneInfo, clock: Clock, metrics: ProjectorMetrics) -> None:
        self._engine, self._zone, self._clock, self._metrics = engine, zone, clock, metrics
        self._stopping = False

    def all(self) -> list[Callable[[], Any]]:
        return [self._keep_rollups, self._keep_partitions]

    async def _keep_rollups(self) -> None:
        await self._every(_ROLLUPS_EVERY_S, "rollups not recomputed yet", self._recompute)

    async def _keep_partitions(self) -> None:
        await self._every(_PARTITIONS_EVERY_S, "partitions not made yet", self._add_partitions)

    async def _every(self, interval_s: float, failure: str, work: Callable[[], None]) -> None:
        try:
            while True:
                try:
                    await asyncio.to_thread(work)
                except WattAwayError as error:
                    log.warning(failure, detail=str(error))
                except Exception:
                    log.exception(failure)
                await asyncio.sleep(interval_s)
        finally:
            self._stopping = True

    def _recompute(self) -> None:
        go_on = lambda: not self._stopping  # noqa: E731
        count = recompute_closed(self._engine, read_model(), self._zone, self._clock, go_on=go_on)
        self._metrics.recomputed.inc(count)

    def _add_partitions(self) -> None:
        with translated_errors(), self._engine.begin() as connection:
            made = add_partitions(connection, read_model(), self._clock.now_ms())
        if made:
            log.info("partitions made", names=made)
