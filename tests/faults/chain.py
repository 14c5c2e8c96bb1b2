"""The running chain and its enemies, so that a fault test reads like a sentence."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from redis import Redis

from domain.lifecycle.cause import system_cause
from ops.application import open_application
from ops.child import Child
from ops.embedded.ports import free_ports
from ops.wiring import migrate
from tests.faults.fleet import Load, ReadingId
from tests.faults.oracle import held_ids, judge_log, judge_read_models
from tests.owner import owner_headers
from tests.servers import World

_LOG_LINES = 40
_ROOT = Path(__file__).parents[2]


class Chain:
    """Roles as processes on a test's own world, the load on them, and the verdict."""

    def __init__(self, world: World) -> None:
        migrate(world.settings)
        self.world = world
        self._roles: dict[str, Child] = {}
        self._receipted: set[ReadingId] = set()
        self._reordered = False
        self._headers: dict[str, str] | None = None

    @property
    def _reordering(self) -> tuple[str, ...]:
        """Whose death lets the broker or the sockets send older readings after newer ones.

        Without its broker, a socket sends its backlog after what is new. And NATS, unlike Mosquitto, hands a bridge
        that comes back what is new before what it had not acknowledged.
        """
        return ("mqtt", "bridge") if self.world.servers.variant == "embedded" else ("mqtt",)

    # --- roles ------------------------------------------------------------------------------------------

    def start(self, name: str, *, role: str | None = None, **settings: str) -> None:
        """Start a role and wait until it answers; `role` says which if the name is not one."""
        self._roles[name] = self.world.start_role(role or name, env=_env(settings))

    def start_another_projector(self, instance: str) -> None:
        """One more projector, which shares the work, or takes over what another no longer does."""
        self.start(instance, role="projector", **_another(instance))

    def runs(self, name: str) -> bool:
        """Whether the role has not ended."""
        return self._roles[name].is_running()

    def start_doomed_projector(self, step: str, *, batch: int, instead: bool = True) -> None:
        """A projector that is killed at this step of its so-manieth batch; instead of the one there was, or beside."""
        whole = self.world.role("projector").spec
        argv = [sys.executable, "-m", "tests.faults.doomed_projector", step, str(batch)]
        env = {**whole.env, "PYTHONPATH": str(_ROOT), **_env({} if instead else _another("doomed"))}
        self._roles["doomed"] = Child(replace(whole, argv=argv, env=env))
        self._roles["doomed"].spawn()

    def kill9(self, name: str) -> None:
        """SIGKILL a role, or a server (`mqtt`, `kafka`, `kafka-2`, `redis`, `database`)."""
        self._reordered |= name in self._reordering
        if name in self._roles:
            self._roles[name].kill()
        else:
            self.world.servers.kill9(name)

    def restart(self, name: str) -> None:
        """Start a role or server again that was killed, as a supervisor does."""
        if name in self._roles:
            self._roles[name].start()
        else:
            self.world.servers.start(name)

    def freeze(self, name: str) -> None:
        """SIGSTOP: it stands still and knows nothing of it.

        Outside a transaction, where the database is SQLite: within one, all others wait until it goes on.
        """
        self._roles[name].signal(signal.SIGSTOP)
        while self.world.servers.variant == "embedded" and not self._database_is_writable():
            self.thaw(name)
            time.sleep(0.05)
            self._roles[name].signal(signal.SIGSTOP)

    def _database_is_writable(self) -> bool:
        path = self.world.settings.resolved_database_url().removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
            return True

    def thaw(self, name: str) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._roles[name].signal(signal.SIGCONT)

    def wait_for_end(self, name: str, *, within_s: float) -> int | None:
        """The exit code of a role that ends by itself; decisions are made meanwhile."""
        deadline = time.monotonic() + within_s
        while not self._roles[name].wait(0.1):
            assert time.monotonic() < deadline, f"{name} still runs after {within_s:g} s"
            self.decide()
        return self._roles[name].exit_code()

    def decide(self) -> None:
        """Something that ends up in the log if a relay runs: a tenant more."""
        with open_application(self.world.settings) as application:
            application.tenancy.found(system_cause("test", datetime.now(UTC)), name="One more", owner_id=None)

    def log_of(self, name: str) -> str:
        """What a role has said."""
        return self._roles[name].spec.log_path.read_text(encoding="utf-8", errors="replace")

    # --- load and verdict -------------------------------------------------------------------------------

    @contextmanager
    def under_load(self, *, sockets: int = 20, interval_s: float = 0.1) -> Iterator[Load]:
        """Sockets that measure meanwhile; at the end each of their readings is receipted, or the test fails."""
        load = Load(self.world, sockets=sockets, interval_s=interval_s)
        with load:
            load.wait_for_receipts(sockets)
            yield load
        self._receipted |= load.ids

    def judge(self) -> None:
        """Nothing receipted is missing, nothing doubled, all in order, and live read models equal rebuilt ones."""
        assert self._receipted, "there was no load to judge by"
        judge_log(self.world, self._receipted, in_order=not self._reordered)
        judge_read_models(self.world)

    def wait_for_projected(self, count: int, *, within_s: float) -> None:
        """Return once the read models hold so many more readings than now."""
        goal, deadline = len(held_ids(self.world)) + count, time.monotonic() + within_s
        while (held := len(held_ids(self.world))) < goal:
            assert time.monotonic() < deadline, f"{goal - held} of {count} further readings not held in {within_s:g} s"
            time.sleep(0.1)

    # --- views and answers ------------------------------------------------------------------------------

    def latest(self, device_ids: Sequence[str]) -> dict[str, int]:
        """What the API says is the newest `seq` of each device, the same ones each time; every one must be known."""
        query = urlencode([("device", device_id) for device_id in device_ids])
        url = f"http://127.0.0.1:{self.world.settings.api_port}/api/v1/latest?{query}"
        if self._headers is None:
            self._headers = owner_headers(self.world, device_ids)
        with urllib.request.urlopen(urllib.request.Request(url, headers=self._headers), timeout=10) as answer:
            said = json.load(answer)
        assert said["missing"] == [], said["missing"]
        return {item["device_id"]: item["seq"] for item in said["items"]}

    def wait_for_latest(self, device_ids: Sequence[str], *, within_s: float = 30) -> dict[str, int]:
        """The same, once the API knows all of them."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                return self.latest(device_ids)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def flush_views(self) -> None:
        """FLUSHALL."""
        with self._redis() as client:
            client.flushall()

    def views_are_complete(self) -> bool:
        """Whether the projector says so."""
        with self._redis() as client:
            return bool(client.exists(f"{self.world.settings.redis_prefix}generation"))

    def _redis(self) -> Redis:
        return Redis.from_url(self.world.settings.resolved_redis_url())

    def close(self) -> None:
        """Let frozen roles go on, so that they can be stopped; the world stops all but the doomed one."""
        for name, role in self._roles.items():
            self.thaw(name)
            # pytest shows it where the test has failed.
            print(f"--- the end of {role.spec.log_path}", *self.log_of(name).splitlines()[-_LOG_LINES:], sep="\n")
        if "doomed" in self._roles:
            self._roles["doomed"].kill()


def _another(instance: str) -> dict[str, str]:
    """The settings of a projector beside the first."""
    return {"projector_instance": instance, "projector_metrics_port": str(free_ports(1)[0])}


def _env(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"WATTAWAY_{setting.upper()}": value for setting, value in settings.items()}
