"""`python -m ops.stack`: what one command starts the next ones find and stop, in a folder and on ports of its own."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import psutil
import pytest

from domain.errors import SettingInvalid
from ops.embedded.ports import LOOPBACK, is_open
from ops.stack.detached import DetachedChild
from ops.stack.ports import StackPorts
from ops.stack.servers import RealServers
from tests.real_servers import why_not

SERVERS = ("mariadb", "redis", "mosquitto", "kafka-1", "kafka-2", "kafka-3")
_ROOT = Path(__file__).parents[2]
# The command has no option for its ports; the usual ones may be somebody's at work here.
_COMMAND = """
import sys
from functools import partial
import ops.stack.__main__ as stack
stack.StackPorts = partial(stack.StackPorts, *{ports!r})
sys.argv[0] = "ops.stack"
stack.main()
"""


class Stack:
    """The command on a folder and on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.data_dir, self.ports = folder / "stack", StackPorts.free()

    def command(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        code = _COMMAND.format(ports=astuple(self.ports))
        return subprocess.run(
            [sys.executable, "-c", code, name, "--data-dir", str(self.data_dir), *options],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )

    def end(self) -> None:
        """Stop what a test that failed has left; not by the command, which may be what is broken."""
        if list(self.data_dir.rglob("*.pid")):
            servers = RealServers(self.data_dir, self.ports)
            for spec in servers.specs():
                DetachedChild(spec).stop()
            servers.erase()

    def all_ports(self) -> list[int]:
        ports = self.ports
        return [ports.mariadb, ports.redis, ports.mosquitto, *ports.kafka, *ports.kafka_controllers]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    if (reason := why_not()) is not None:
        pytest.fail(reason) if os.environ.get("WATTAWAY_REQUIRE_STACK") == "1" else pytest.skip(reason)
    own = Stack(tmp_path)
    yield own
    own.end()


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> list[str]:
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.splitlines()


def states(lines: list[str]) -> dict[str, str]:
    """Server → what is said of it, without its process id."""
    told = (re.fullmatch(r"(\S+) +(stopped|answers|does not answer)(?: +pid \d+)?", line) for line in lines)
    return {one[1]: one[2] for one in told if one}


def pids(lines: list[str]) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.search(r"pid (\d+)$", line))]


@pytest.mark.stack
@pytest.mark.long
@pytest.mark.timeout(400)
def test_all_servers_start_are_found_by_the_next_command_and_leave_nothing_running(stack: Stack) -> None:
    started = said(stack.command("up"))
    assert states(started) == dict.fromkeys(SERVERS, "answers")
    assert all(is_open((LOOPBACK, port)) for port in stack.all_ports())
    env_path = stack.data_dir / "env"
    assert str(env_path) in "\n".join(started)
    assert env_path.stat().st_mode & 0o077 == 0, "passwords are in there"
    assert f"WATTAWAY_MQTT_PORT={stack.ports.mosquitto}" in env_path.read_text().splitlines()

    found = said(stack.command("status"))
    assert states(found) == dict.fromkeys(SERVERS, "answers")
    processes = [psutil.Process(pid) for pid in pids(found)]
    assert len(processes) == len(SERVERS)
    assert pids(said(stack.command("up"))) == pids(found), "what runs is not started again"

    next(one for one in processes if "redis" in one.name()).kill()
    assert states(said(stack.command("status"), 1)) == {**dict.fromkeys(SERVERS, "answers"), "redis": "stopped"}

    below = [child for one in processes if one.is_running() for child in one.children(recursive=True)]
    assert said(stack.command("down", "--erase")) == ["the real servers are stopped and their data is deleted"]
    _, alive = psutil.wait_procs([*processes, *below], timeout=10)
    assert not alive
    assert not [port for port in stack.all_ports() if is_open((LOOPBACK, port))]
    assert states(said(stack.command("status"), 1)) == dict.fromkeys(SERVERS, "stopped")


@pytest.mark.stack
def test_a_port_that_somebody_uses_is_named_before_anything_is_started(stack: Stack) -> None:
    with socket.create_server((LOOPBACK, stack.ports.redis)):
        told = stack.command("up")
    assert said(told, 1) == []
    assert told.stderr == f"error: port {stack.ports.redis} on loopback is in use: stop what listens there\n"
    assert not list(stack.data_dir.rglob("*.pid"))


@pytest.mark.stack
def test_what_does_not_run_is_said_to_be_stopped_and_stopping_it_does_nothing(stack: Stack) -> None:
    assert states(said(stack.command("status"), 1)) == dict.fromkeys(SERVERS, "stopped")
    assert said(stack.command("down")) == ["the real servers are stopped"]


def test_free_ports_are_taken_as_they_are_and_each_taken_one_is_named() -> None:
    ports = StackPorts.free()
    ports.check_free()
    second_controller = ports.kafka_controllers[1]
    with (
        socket.create_server((LOOPBACK, ports.mariadb)),
        socket.create_server((LOOPBACK, second_controller)),
        pytest.raises(SettingInvalid) as caught,
    ):
        ports.check_free()
    assert str(caught.value) == (
        f"port {ports.mariadb}, {second_controller} on loopback is in use: stop what listens there"
    )


def test_no_port_of_the_real_servers_is_an_embedded_one_or_one_of_outgoing_connections() -> None:
    ports = [port for one in astuple(StackPorts()) for port in (one if isinstance(one, tuple) else (one,))]
    assert len(ports) == len(set(ports)) == 9
    assert all(1024 <= port < 32768 for port in ports)
