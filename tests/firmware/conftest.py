"""The firmware's modules are importable in CPython too, on top of the simulated hardware."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.firmware.micropython import FIRMWARE, HARDWARE, SIM, Worker

# In this order, so that the simulated `hal` is found before the board's.
sys.path.extend(str(folder) for folder in (HARDWARE, FIRMWARE, SIM) if str(folder) not in sys.path)

# An example asks another process: on a busy machine that takes as long as it takes.
settings.register_profile("another process", deadline=None)
settings.load_profile("another process")


@pytest.fixture(autouse=True)
def _nothing_hangs_on_the_board() -> None:
    """What another test plugged in is gone."""
    import hal

    hal.board.mains = None
    hal.board.timers.clear()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One MicroPython process for a file: the modules of all of them would not leave its small heap much."""
    with Worker() as running:
        yield running
