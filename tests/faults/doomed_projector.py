"""A projector that is killed at a step of its commit: `python -m tests.faults.doomed_projector STEP BATCH`."""

from __future__ import annotations

import os
import signal
import sys

from ops.logs import configure_logging
from ops.run_role import run_projector
from ops.settings import load_settings


class Doom:
    """SIGKILL at the given step of the given batch that has such a step."""

    def __init__(self, step: str, batch: int) -> None:
        self._step, self._left = step, batch

    def __call__(self, step: str) -> None:
        self._left -= step == self._step
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level, "projector")
    run_projector(settings, on_step=Doom(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
