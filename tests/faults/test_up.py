"""`wattaway up` as a whole: it starts, restarts, survives kill -9 with its data, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ops.embedded.ports import LOOPBACK, free_ports, is_open

pytestmark = [pytest.mark.embedded, pytest.mark.faults, pytest.mark.timeout(300)]


class Up:
    """`wattaway up` on a data dir of its own, on free ports."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "Küche, 1 & 2"  # A person's folder, not a programmer's.
        self._output = folder / "output"
        names = ("MQTT_PORT", "EMBEDDED_NATS_PORT", "EMBEDDED_KAFKA_CONTROLLER_PORT", "BRIDGE_METRICS_PORT")
        names += ("PROJECTOR_METRICS_PORT", "RELAY_METRICS_PORT", "DISPATCHER_METRICS_PORT", "API_PORT", "KAFKA")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._env = {f"WATTAWAY_{name}": str(port) for name, port in self.ports.items() if name != "KAFKA"}
        self._env |= {"WATTAWAY_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.ports['KAFKA']}"}
        self._env |= {"WATTAWAY_DATA_DIR": str(self.data_dir), "LC_ALL": "C"}
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}

    def command(self, *arguments: str, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "ops.cli", *arguments]
        return subprocess.run(
            argv,
            cwd=self._folder,
            env=os.environ | self._env,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def start(self, *arguments: str) -> None:
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops.cli", "up", *arguments],
                cwd=self._folder,
                env=os.environ | self._env,
                stdout=output,
                stderr=output,
            )

    def until(self, condition: Callable[[], bool], within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, self.output()
            assert self.process is not None
            assert self.process.poll() is None, self.output()
            self.children()
            time.sleep(0.1)

    def until_it_runs(self) -> None:
        already = self.output().count("/readyz")
        self.until(lambda: self.output().count("/readyz") > already)

    def children(self) -> dict[str, psutil.Process]:
        """Who runs, by name; everyone ever seen is remembered for `nothing_is_left`."""
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            listed = json.loads((self.data_dir / "children.json").read_text())
            found = {name: psutil.Process(child["pid"]) for name, child in listed.items()}
            self._seen |= {process.pid: process for process in found.values()}
            return found
        return {}

    def ends(self, within_s: float = 60) -> int:
        assert self.process is not None
        return self.process.wait(within_s)

    def listeners(self) -> set[tuple[str, str]]:
        """Which child listens at which address."""
        return {
            (name, connection.laddr.ip.removeprefix("::ffff:"))
            for name, child in self.children().items()
            for process in (child, *child.children(recursive=True))
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }

    def nothing_is_left(self) -> None:
        assert len(self._seen) >= 7
        _, alive = psutil.wait_procs(list(self._seen.values()), timeout=10)
        assert not alive
        assert not [name for name, port in self.ports.items() if is_open((LOOPBACK, port))]

    def output(self) -> str:
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def records_in_the_log(self) -> int:
        told = json.loads(self.command("status", "--json").stdout)
        return sum(topic["records"] for topic in told["topics"] if topic["name"] == "wattaway.readings.v1")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def test_killed_children_come_back_and_ctrl_c_leaves_nothing_behind(up: Up) -> None:
    up.start("--simulate", "3")
    up.until_it_runs()
    before = up.children()
    assert set(before) == {
        "nats",
        "kafka",
        "valkey",
        "device-auth",
        "bridge",
        "projector",
        "relay",
        "dispatcher",
        "api",
        "simulator",
    }
    # Valkey has a unix socket, the simulator nothing.
    listening = set(before) - {"valkey", "simulator", "device-auth"}
    assert up.listeners() == {(name, LOOPBACK) for name in listening}
    for name in ("bridge", "valkey", "nats"):
        before[name].kill()
    up.until(
        lambda: all(
            name in up.children() and up.children()[name] != before[name]
            for name in before
            if name in ("bridge", "valkey", "nats")
        )
    )
    assert up.children()["kafka"] == before["kafka"]
    up.until(lambda: up.command("status").returncode == 0)

    assert up.process is not None
    up.process.send_signal(signal.SIGINT)
    assert up.ends() == 0, up.output()
    assert "Traceback" not in up.output()
    up.nothing_is_left()


@pytest.mark.long
def test_after_kill_9_nothing_is_orphaned_and_the_next_start_has_the_data(up: Up) -> None:
    up.start("--simulate", "3")
    up.until_it_runs()
    up.until(lambda: up.records_in_the_log() >= 9)
    second = up.command("up", "--data-dir", str(up.data_dir))
    assert second.returncode == 2
    assert "another `wattaway up`" in second.stderr
    kept = up.records_in_the_log()
    assert up.process is not None
    up.process.kill()
    up.ends()
    up.nothing_is_left()

    up.start("--simulate", "3", "--duration", "4")
    up.until_it_runs()
    assert up.records_in_the_log() >= kept
    assert up.ends(120) == 0, up.output()
    assert re.search(r"outstanding\s*│\s*0", up.output())
    up.nothing_is_left()


@pytest.mark.long
def test_real_firmwares_run_beside_the_engine_and_end_with_it(up: Up) -> None:
    up.start("--firmware", "5", "--duration", "12")
    up.until_it_runs()
    up.until(lambda: up.records_in_the_log() >= 15)
    assert up.ends(120) == 0, up.output()
    assert "5 firmwares ran; 0 restarts, 0 crashes" in up.output()
    up.nothing_is_left()
