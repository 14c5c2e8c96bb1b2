"""The data dir of `wattaway up`: one owner at a time, room to write, no leftovers of one that was killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import structlog

from domain.errors import SettingInvalid

LEAST_FREE_MIB = 300
"""Kafka preallocates its indexes and stops for good when a write fails."""

log = structlog.get_logger()


@contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Own the data dir, for as long as the block runs or this process lives.

    Raises:
        SettingInvalid: another `up` owns it, it cannot be written, or its disk is full.
    """
    with ExitStack() as stack:
        with _told_in_one_line():
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            (data_dir / "logs").mkdir(exist_ok=True)
            file = stack.enter_context((data_dir / "up.lock").open("a+"))
            _lock(file.fileno(), data_dir)
            check_free_space(data_dir)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            _end_leftovers(data_dir)
        yield


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise SettingInvalid(f"WATTAWAY_DATA_DIR: {error.filename} is not a folder; choose another one") from error
    except OSError as error:
        where = f"{error.filename} cannot be written" if error.filename else "it cannot be used"
        raise SettingInvalid(f"WATTAWAY_DATA_DIR: {where} ({error.strerror}); choose another folder") from error


def check_free_space(data_dir: Path) -> None:
    """Raise `SettingInvalid` if there is no room to go on."""
    if shortage := disk_shortage(data_dir):
        raise SettingInvalid(f"WATTAWAY_DATA_DIR: {shortage}; make room, or choose a folder on another disk")


def disk_shortage(data_dir: Path) -> str:
    """What to complain about if the disk is nearly full, else an empty string."""
    free_mib = shutil.disk_usage(data_dir).free >> 20
    if free_mib >= LEAST_FREE_MIB:
        return ""
    return f"only {free_mib} MiB are free where {data_dir} is, {LEAST_FREE_MIB} are needed"


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with suppress(OSError):
            owner = (data_dir / "up.lock").read_text().strip()
            raise SettingInvalid(
                f"WATTAWAY_DATA_DIR: another `wattaway up` (process {owner}) runs on {data_dir}; "
                "stop it, or choose another folder"
            ) from error
        raise


# --- children of an `up` that was killed ----------------------------------------------------------------


def remember_children(data_dir: Path, pids: Mapping[str, int]) -> None:
    """Write down who runs, each with its start time, so that a reused process id is never killed."""
    started = {}
    for name, pid in pids.items():
        with suppress(psutil.Error):
            started[name] = {"pid": pid, "created": psutil.Process(pid).create_time()}
    draft = data_dir / "children.draft"
    draft.write_text(json.dumps(started))
    draft.replace(data_dir / "children.json")


def _end_leftovers(data_dir: Path) -> None:
    """Kill children that outlived their supervisor, where the kernel did not do so."""
    try:
        children = json.loads((data_dir / "children.json").read_text())
    except (OSError, ValueError):
        return
    for name, child in children.items():
        with suppress(psutil.Error, ProcessLookupError):
            process = psutil.Process(child["pid"])
            if process.create_time() == child["created"]:
                log.warning("leftover ended", child=name, pid=process.pid)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
    (data_dir / "children.json").unlink(missing_ok=True)
