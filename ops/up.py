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
from ops.embedded.ports import is_loopback
from ops.embedded.valkey import EmbeddedValkey
from ops.figures import Figures, rates, read_figures
from ops.firmware.fleet import micropython
from ops.first_user import is_set_up
from ops.logs import configure_logging
from ops.preflight import check_embedded, embedded_kafka_port, fetch_kafka
from ops.role_logs import RoleLogs
from ops.roles import role_spec
from ops.set_up_code import new_set_up_code
from ops.settings import Settings
from ops.status import devices_online
from ops.supervisor import Supervisor
from ops.up_finish import finish
from ops.up_screen import show
from ops.up_view import View
from ops.wiring import migrate

SIMULATOR = "simulator"
FIRMWARE = "firmware"
_SIMULATED_INTERVAL_S = 1.0
_FIRMWARE_INTERVAL_S = 2.0


@dataclass(frozen=True)
class UpPlan:
    """What to run beside the servers and roles, and for how long (None: until stopped)."""

    sockets: int = 0
    duration_s: float | None = None
    firmwares: int = 0


def run_up(settings: Settings, plan: UpPlan, console: Console) -> int:
    """Run until stopped or the duration is over; the exit code.

    Raises:
        SettingInvalid, DependencyUnavailable: something cannot be started; one line with what to do.
    """
    if plan.firmwares:
        micropython()
    with owned(settings.data_dir):
        check_embedded(settings)
        fetch_kafka(console)
        with (settings.data_dir / "logs" / "up.log").open("a") as log_file:
            configure_logging("json", settings.log_level, "up", log_file)
            migrate(settings)
            code = None if is_set_up(settings) else new_set_up_code(settings.data_dir)
            return asyncio.run(_Up(settings, plan, console, code).run())


def embedded_specs(settings: Settings) -> list[ChildSpec]:
    """The servers that these settings do not point elsewhere."""
    specs = [
        EmbeddedNats(
            settings.data_dir,
            settings.mqtt_port,
            settings.embedded_nats_port,
            settings.mqtt_tls_certificate,
            settings.mqtt_tls_key,
            settings.embedded_mqtt_listen,
        ).spec(),
        EmbeddedKafka(settings.data_dir, embedded_kafka_port(settings), settings.embedded_kafka_controller_port).spec(),
    ]
    if not settings.redis_url.get_secret_value():
        specs.append(EmbeddedValkey(settings.data_dir).spec())
    return specs


def role_specs(settings: Settings, plan: UpPlan) -> list[ChildSpec]:
    """Every role, and the fleets that the plan wants."""
    env = {"WATTAWAY_DATA_DIR": str(settings.data_dir.resolve()), "WATTAWAY_LOG_FORMAT": "json"}
    specs = [
        role_spec(name, settings, env) for name in ("device-auth", "bridge", "projector", "relay", "dispatcher", "api")
    ]
    if plan.sockets:
        arguments = ["simulate", str(plan.sockets), "--interval", str(_SIMULATED_INTERVAL_S)]
        specs.append(_fleet_spec(SIMULATOR, arguments, settings, env))
    if plan.firmwares:
        arguments = ["firmware", "sim", str(plan.firmwares), "--interval", str(_FIRMWARE_INTERVAL_S)]
        specs.append(_fleet_spec(FIRMWARE, arguments, settings, env))
    return specs


def _fleet_spec(name: str, arguments: list[str], settings: Settings, env: dict[str, str]) -> ChildSpec:
    argv = [sys.executable, "-m", "ops.cli", *arguments]
    log_path = settings.data_dir.resolve() / "logs" / f"{name}.log"
    return ChildSpec(name, argv, log_path, is_ready=lambda: True, env=env, after=("bridge",))


def urls(settings: Settings) -> dict[str, str]:
    """What to open."""
    base = settings.api_url
    paths = {"page": "/", "API": "/docs", "topics": "/asyncapi.json", "metrics": "/metrics", "ready": "/readyz"}
    return {what: base + path for what, path in paths.items()}


class _Up:
    def __init__(self, settings: Settings, plan: UpPlan, console: Console, set_up_code: str | None) -> None:
        self._settings, self._plan, self._console, self._set_up_code = settings, plan, console, set_up_code
        specs = [*embedded_specs(settings), *role_specs(settings, plan)]
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
                return await finish(self._settings, self._supervisor, (FIRMWARE, SIMULATOR), self._console)
            return 0
        finally:
            self._title = "stopping"
            self._supervisor.stop()

    def _announce(self) -> None:
        self._title = f"WattAway runs in {self._settings.data_dir}"
        for name, url in urls(self._settings).items():
            self._console.print(f"{name:>8}  {url}", highlight=False)
        listens = self._settings.embedded_mqtt_listen
        if not is_loopback(listens):
            in_clear = "" if self._settings.mqtt_tls_certificate else "; tokens go in clear: set a certificate"
            self._console.print(
                f" sockets  MQTT on {listens}, port {self._settings.mqtt_port}{in_clear}", highlight=False
            )
        if self._set_up_code is not None:
            # In the fragment, which browsers send to nobody.
            link = f"{urls(self._settings)['page']}#set-up={self._set_up_code}"
            self._console.print("Nobody has an account yet. The first one is made here, or by `wattaway set-up`:")
            self._console.print(f"  {link}", highlight=False, soft_wrap=True)

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
