"""The supervisor's decisions, with real tiny child processes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import psutil
import pytest

from domain.errors import DependencyUnavailable, SettingInvalid
from ops.backoff import Backoff
from ops.child import ChildSpec
from ops.supervisor import State, Supervisor

# Says that it is there by making a file, notes that it was asked to stop, and goes.
_CHILD = """
import pathlib, signal, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def stop(*_):
    with (folder / "stops").open("a") as file: file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with (folder / "starts").open("a") as file: file.write(name + "\\n")
(folder / name).touch()
while True: time.sleep(60)
"""


def spec(folder: Path, name: str, *, code: str = _CHILD, after: tuple[str, ...] = (), **more: object) -> ChildSpec:
    return ChildSpec(
        name=name,
        argv=[sys.executable, "-c", code, name, str(folder)],
        log_path=folder / f"{name}.log",
        is_ready=lambda: (folder / name).exists(),
        after=after,
        **more,  # type: ignore[arg-type]
    )


def quick() -> Backoff:
    return Backoff(first_s=0.01, longest_s=0.05)


async def until(condition: Callable[[], bool], within_s: float = 15) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(supervisor.run())
        try:
            yield task
        finally:
            supervisor.stop()


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().split()


async def test_children_start_after_what_they_need_and_stop_before_it(tmp_path: Path) -> None:
    specs = [spec(tmp_path, "api", after=("log",)), spec(tmp_path, "bridge", after=("api",)), spec(tmp_path, "log")]
    supervisor = Supervisor(specs, backoff=quick)
    async with running(supervisor) as task:
        await supervisor.answering(["bridge"])
        assert lines(tmp_path, "starts") == ["log", "api", "bridge"]
    await task
    assert lines(tmp_path, "stops") == ["bridge", "api", "log"]
    assert all(one.state is State.STOPPED for one in supervisor.children.values())


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "bridge")], backoff=quick)
    async with running(supervisor):
        await supervisor.answering(["bridge"])
        bridge = supervisor.children["bridge"]
        first = bridge.child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: bridge.restarts == 1 and bridge.state is State.RUNNING)
        assert bridge.child.pid != first
        assert "SIGKILL" in bridge.last_exit


async def test_others_are_left_alone_when_one_dies(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "log"), spec(tmp_path, "bridge", after=("log",))], backoff=quick)
    async with running(supervisor):
        await supervisor.answering(["bridge"])
        bridge, kafka = supervisor.children["bridge"], supervisor.children["log"]
        kept = bridge.child.pid
        kafka.child.kill()
        await until(lambda: kafka.restarts == 1 and kafka.state is State.RUNNING)
        assert bridge.child.pid == kept
        assert bridge.restarts == 0


async def test_a_child_that_never_answers_ends_it_all_and_says_why(tmp_path: Path) -> None:
    broken = spec(tmp_path, "bridge", code="import sys; print('the disk is on fire'); sys.exit(1)")
    supervisor = Supervisor([spec(tmp_path, "log"), broken], backoff=quick, first_failures=3)
    with pytest.raises(DependencyUnavailable, match=r"bridge.*failed 3 times.*the disk is on fire"):
        await supervisor.run()
    assert not supervisor.children["log"].child.is_running()


async def test_a_wrong_setting_is_not_tried_twice(tmp_path: Path) -> None:
    broken = spec(tmp_path, "api", code="import sys; print('WATTAWAY_API_PORT: no'); sys.exit(2)")
    supervisor = Supervisor([broken], backoff=quick)
    with pytest.raises(SettingInvalid, match="WATTAWAY_API_PORT: no"):
        await supervisor.run()
    assert supervisor.children["api"].restarts == 0


async def test_a_child_deaf_to_sigterm_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    deaf = _CHILD.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    supervisor = Supervisor([spec(tmp_path, "bridge", code=deaf, stop_within_s=0.3)], backoff=quick)
    async with running(supervisor):
        await supervisor.answering(["bridge"])
    assert supervisor.children["bridge"].child.exit_code() == -signal.SIGKILL


async def test_one_child_can_be_stopped_alone(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "log"), spec(tmp_path, "simulator", after=("log",))], backoff=quick)
    async with running(supervisor):
        await supervisor.answering(["simulator"])
        assert await supervisor.stop_child("simulator") == 0
        assert supervisor.children["log"].child.is_running()
        assert lines(tmp_path, "stops") == ["simulator"]


async def test_a_full_disk_ends_nothing_that_runs(tmp_path: Path) -> None:
    def full(_pids: dict[str, int]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    supervisor = Supervisor([spec(tmp_path, "bridge"), spec(tmp_path, "api")], backoff=quick, on_pids=full)
    async with running(supervisor) as task:
        await asyncio.wait_for(supervisor.answering(["bridge", "api"]), 15)
        assert not task.done()
    await task


async def test_a_child_whose_log_cannot_be_written_is_started_again_later(tmp_path: Path) -> None:
    (tmp_path / "bridge.log").mkdir()
    supervisor = Supervisor([spec(tmp_path, "bridge")], backoff=quick, first_failures=1000)
    async with running(supervisor):
        await until(lambda: supervisor.children["bridge"].restarts > 0)
        assert "Is a directory" in supervisor.children["bridge"].last_exit
        (tmp_path / "bridge.log").rmdir()
        await asyncio.wait_for(supervisor.answering(["bridge"]), 15)


def test_pauses_double_up_to_a_limit_and_start_anew_after_a_good_run() -> None:
    backoff = Backoff(first_s=1, longest_s=5, healthy_after_s=30, jitter=0, random=Random(1))
    assert [backoff.pause_s(0) for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.pause_s(31) == 1


def test_jitter_stretches_a_pause_by_at_most_its_fraction() -> None:
    pauses = {Backoff(first_s=1, jitter=0.25, random=Random(seed)).pause_s(0) for seed in range(50)}
    assert len(pauses) > 40
    assert all(1 <= pause <= 1.25 for pause in pauses)


def test_nothing_survives_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio, pathlib
from ops.supervisor import Supervisor
from tests.unit.test_supervisor import spec
folder = pathlib.Path({str(tmp_path)!r})
def tell(pids): (folder / "pids").write_text(" ".join(map(str, pids.values())))
asyncio.run(Supervisor([spec(folder, "log"), spec(folder, "bridge")], on_pids=tell).run())
"""
    supervisor = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 20
    while not ((tmp_path / "log").exists() and (tmp_path / "bridge").exists()):
        assert time.monotonic() < deadline and supervisor.poll() is None
        time.sleep(0.02)
    children = [psutil.Process(int(pid)) for pid in lines(tmp_path, "pids")]
    assert len(children) == 2
    supervisor.kill()
    supervisor.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
