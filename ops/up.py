"""`wattaway up`: the embedded servers and every role under one supervisor, with a screen."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console

from domain.errors import WattAwayError
from ops.child import ChildSpec
from ops.data_dir import disk_shortage, owned, remember_children
from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.nats import EmbeddedNats
from ops.embedded.valkey import EmbeddedValkey
from ops.figures import Figures, rates, read_figures
from ops.logs import configure_logging
from ops.preflight import check_embedded, embedded_kafka_port, fetch_kafka
from ops.role_logs import RoleLogs
from ops.roles import role_spec
from ops.settings import Settings
from ops.status import devices_online
from ops.supervisor import Supervisor
from ops.up_finish import finish
from ops.up_screen import show
from ops.up_view import View
from ops.wiring import migrate

SIMULATOR = "simulator"
_SIMULATED_INTERVAL_S = 1.0


@dataclass(frozen=True)
class UpPlan:
    """What to run beside the servers and roles, and for how long (None: until stopped)."""

    sockets: int = 0
    duration_s: float | None = None


def run_up(settings: Settings, plan: UpPlan, console: Console) -> int:
    """Run until stopped or the duration is over; the exit code.

    Raises:
        SettingInvalid, DependencyUnavailable: something cannot be started; one line with what to do.
    """
    with owned(settings.data_dir):
        check_embedded(settings)
        fetch_kafka(console)
        with (settings.data_dir / "logs" / "up.log").open("a") as log_file:
            configure_logging("json", settings.log_level, "up", log_file)
            migrate(settings)
            return asyncio.run(_Up(settings, plan, console).run())


def embedded_specs(settings: Settings) -> list[ChildSpec]:
    """The servers that these settings do not point elsewhere."""
    specs = [
        EmbeddedNats(settings.data_dir, settings.mqtt_port, settings.embedded_nats_port).spec(),
        EmbeddedKafka(settings.data_dir, embedded_kafka_port(settings), settings.embedded_kafka_controller_port).spec(),
    ]
    if not settings.redis_url.get_secret_value():
        specs.append(EmbeddedValkey(settings.data_dir).spec())
    return specs


def role_specs(settings: Settings, sockets: int) -> list[ChildSpec]:
    """Every role, and the simulated fleet if there is one."""
    env = {"WATTAWAY_DATA_DIR": str(settings.data_dir.resolve()), "WATTAWAY_LOG_FORMAT": "json"}
    specs = [role_spec(name, settings, env) for name in ("device-auth", "bridge", "projector", "api")]
    if sockets:
        argv = [sys.executable, "-m", "ops.cli", "simulate", str(sockets), "--interval", str(_SIMULATED_INTERVAL_S)]
        log_path = settings.data_dir.resolve() / "logs" / f"{SIMULATOR}.log"
        specs.append(ChildSpec(SIMULATOR, argv, log_path, is_ready=lambda: True, env=env, after=("bridge",)))
    return specs


def urls(settings: Settings) -> dict[str, str]:
    """What to open."""
    base = f"http://{settings.api_host}:{settings.api_port}"
    return {"page": f"{base}/", "API": f"{base}/docs", "metrics": f"{base}/metrics", "ready": f"{base}/readyz"}


class _Up:
    def __init__(self, settings: Settings, plan: UpPlan, console: Console) -> None:
        self._settings, self._plan, self._console = settings, plan, console
        specs = [*embedded_specs(settings), *role_specs(settings, plan.sockets)]
        self._supervisor = Supervisor(specs, on_pids=partial(remember_children, settings.data_dir))
        self._logs = RoleLogs({spec.name: spec.log_path for spec in specs})
        self._redis = Redis.from_url(settings.resolved_redis_url(), socket_timeout=1, socket_connect_timeout=1)
        self._before = Figures(at_s=0.0)
        self._title = "starting"
        self._stop = asyncio.Event()
        self._shown = asyncio.Event()

    async def run(self) -> int:
        self._stop_on_signals()
        self._console.print(f"Starting in {self._settings.data_dir}; logs are in its folder `logs`.", soft_wrap=True)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(show(self._console, self._look, self._shown))
                tasks.create_task(self._supervise())
                directing = tasks.create_task(self._direct())
        except* WattAwayError as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._redis.aclose()
        self._console.print(f"Stopped; everything is kept in {self._settings.data_dir}.", soft_wrap=True)
        return directing.result()

    async def _supervise(self) -> None:
        try:
            await self._supervisor.run()
        finally:
            self._stop.set()
            self._shown.set()

    async def _direct(self) -> int:
        """Wait for the start, for the end, and see that everything arrived."""
        try:
            if not await self._before_stop(self._supervisor.answering(list(self._supervisor.children))):
                return 0
            self._announce()
            if self._plan.duration_s is None:
                await self._stop.wait()
                return 0
            if await self._before_stop(asyncio.sleep(self._plan.duration_s)):
                self._title = "the time is over: draining, then comparing the log with the read models"
                simulator = SIMULATOR if self._plan.sockets else None
                return await finish(self._settings, self._supervisor, simulator, self._console)
            return 0
        finally:
            self._title = "stopping"
            self._supervisor.stop()

    def _announce(self) -> None:
        self._title = f"WattAway runs in {self._settings.data_dir}"
        for name, url in urls(self._settings).items():
            self._console.print(f"{name:>8}  {url}", highlight=False)

    async def _before_stop(self, work: object) -> bool:
        """Whether the work was done before somebody stopped us."""
        working = asyncio.ensure_future(work)  # type: ignore[call-overload]
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            return working.done() and not self._stop.is_set()
        finally:
            working.cancel()
            stopping.cancel()

    def _stop_on_signals(self) -> None:
        """The first one stops cleanly, the second one at once."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self._stop.is_set():
                self._supervisor.kill_all()
            self._stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)

    async def _look(self) -> View:
        figures = await asyncio.to_thread(read_figures, self._settings)
        await asyncio.to_thread(self._logs.follow)
        per_second, self._before = rates(self._before, figures), figures
        return View(
            title=f"{self._title}   {disk_shortage(self._settings.data_dir)}".rstrip(),
            children=list(self._supervisor.children.values()),
            figures=figures,
            rates=per_second,
            devices_online=await self._online(),
            errors=self._logs.errors,
            warnings=self._logs.warnings,
            complaints=list(self._logs.latest),
        )

    async def _online(self) -> int | None:
        try:
            return await devices_online(self._redis, self._settings.redis_prefix)
        except (RedisError, OSError):
            return None
