"""A relay that is killed at a step of a batch: `python -m tests.faults.doomed_relay STEP BATCH`."""

from __future__ import annotations

import sys

from ops.logs import configure_logging
from ops.run_role import run_relay
from ops.settings import load_settings
from tests.faults.doomed_projector import Doom


def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level, "relay")
    run_relay(settings, on_step=Doom(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
