"""A server process that outlives the command that started it, known by its pid file."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import time

import psutil

from domain.errors import DependencyUnavailable
from ops.child import ChildSpec

_POLL_S = 0.05


class DetachedChild:
    """Starts and stops the process of a `ChildSpec`; any later process can stop what an earlier one started.

    The pid file holds the process's start time too: after a reboot the pid may be somebody else's, and `stop` must
    end exactly what was started here.
    """

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self._pid_path = spec.log_path.with_suffix(".pid")
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process()
        return None if process is None else process.pid

    def start(self) -> None:
        """Start it if it does not run, and wait until it answers.

        Raises:
            DependencyUnavailable: it ended, or did not answer in time; names its log.
        """
        if self.pid is None:
            self.spec.prepare()
            self._spawn()
        deadline = time.monotonic() + self.spec.ready_within_s
        while not self.spec.is_ready():
            if self.pid is None:
                raise DependencyUnavailable(self.spec.name, f"it ended at once; see {self.spec.log_path}")
            if time.monotonic() > deadline:
                waited = f"no answer within {self.spec.ready_within_s:g} s"
                raise DependencyUnavailable(self.spec.name, f"{waited}; see {self.spec.log_path}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL once its time is over; nothing happens if it does not run."""
        process = self._process()
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(self.spec.stop_within_s)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(10)
            self._process()
        self._pid_path.unlink(missing_ok=True)

    def _spawn(self) -> None:
        with self.spec.log_path.open("ab") as log:
            self._started = subprocess.Popen(  # noqa: S603
                self.spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.spec.env},
                cwd=self.spec.cwd,
                start_new_session=True,
                user=self.spec.account or None,
                group=pwd.getpwnam(self.spec.account).pw_gid if self.spec.account else None,
                extra_groups=[] if self.spec.account else None,
            )
        started_at = psutil.Process(self._started.pid).create_time()
        self._pid_path.write_text(json.dumps({"pid": self._started.pid, "started_at": started_at}), encoding="ascii")

    def _process(self) -> psutil.Process | None:
        if self._started is not None:
            self._started.poll()  # Reaps it if it has ended: else it stays in the process table.
        try:
            written = json.loads(self._pid_path.read_text(encoding="ascii"))
            process = psutil.Process(written["pid"])
            is_ours = process.create_time() == written["started_at"]
            return process if is_ours and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            return None
