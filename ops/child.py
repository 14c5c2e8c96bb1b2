"""A child process: how it is started, how one knows that it answers, how it is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from domain.errors import DependencyUnavailable

_TETHER = Path(__file__).with_name("tether.py")
_POLL_S = 0.05
_STACK_FRAME = re.compile(r"\s+(at |\.\.\. \d+ more)")
"""What ends the words of a dying Java."""


class ChildFailed(DependencyUnavailable):
    """A server or role of our own does not start, or does not stay; no setting names another one."""


def _nothing_to_prepare() -> None:
    """Most children need nothing before their start."""


@dataclass(frozen=True)
class ChildSpec:
    """What a child is.

    Args:
        log_path: takes its standard output and error.
        is_ready: does it answer? Called from a thread, must return within a second or so and raise nothing.
        prepare: blocking work before every start (write a configuration, format a disk).
        ready_within_s: how long a start may take.
        stop_within_s: how long it may take to obey SIGTERM before it is killed.
        after: the children that must answer before this one starts.
        cwd: where it runs; None: where we do.
        account: run it under this account of the machine (only root may); empty: under one's own.
    """

    name: str
    argv: Sequence[str]
    log_path: Path
    is_ready: Callable[[], bool]
    prepare: Callable[[], None] = _nothing_to_prepare
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready_within_s: float = 60.0
    stop_within_s: float = 10.0
    after: tuple[str, ...] = ()
    account: str = ""


class Child:
    """One child at a time of a `ChildSpec`, in its own process group, dying with this process.

    Start it from the main thread: Linux ties its life to the thread that started it.
    """

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs (or was never started); negative: the signal that ended it."""
        return None if self._process is None else self._process.poll()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start the process; `ChildSpec.prepare` is the caller's to run before."""
        self.spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.spec.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), self.spec.account, *self.spec.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.spec.env},
                cwd=self.spec.cwd,
                start_new_session=True,
            )

    def start(self) -> None:
        """Prepare, start and wait until it answers.

        Raises:
            ChildFailed: it died, or did not answer in time; names its log.
        """
        self.spec.prepare()
        self.spawn()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return once it answers.

        Raises:
            ChildFailed: it died, or did not answer in time; names its log.
        """
        deadline = time.monotonic() + self.spec.ready_within_s
        while not self.spec.is_ready():
            if not self.is_running():
                raise ChildFailed(self.spec.name, f"it ended with {self.exit_code()}{self.last_words()}")
            if time.monotonic() > deadline:
                raise ChildFailed(self.spec.name, f"no answer within {self.spec.ready_within_s:g} s")
            time.sleep(_POLL_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child and whatever it started; nothing happens if it is gone."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def wait(self, within_s: float) -> bool:
        """Whether it ended within the time."""
        if self._process is None:
            return True
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL once its time is over."""
        self.signal(signal.SIGTERM)
        if not self.wait(self.spec.stop_within_s):
            self.kill()

    def last_words(self) -> str:
        """The end of its log, for an error message; empty if it said nothing."""
        try:
            lines = self.spec.log_path.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        said = next((line.strip() for line in reversed(lines) if line.strip() and not _STACK_FRAME.match(line)), "")
        return f"; its last words in {self.spec.log_path}: {said[:300]}" if said else f"; see {self.spec.log_path}"


def start_together(children: Sequence[Child]) -> None:
    """Start children that do not wait for each other, or that answer only together (nodes of a cluster).

    Raises:
        ChildFailed: one of them died or does not answer; the others may run.
    """
    with ThreadPoolExecutor(max(1, len(children))) as pool:
        list(pool.map(lambda child: child.spec.prepare(), children))
    for child in children:
        child.spawn()  # In this thread: see `Child`.
    for child in children:
        child.wait_ready()
