"""A projector may die or freeze between any two steps: each reading counts once all the same."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from pathlib import Path

import pytest

from tests.faults.chain import Chain
from tests.faults.oracle import judge_read_models
from tests.projection_records import append, reading

_PROJECTIONS = Path(__file__).parents[2] / "projections"

pytestmark = pytest.mark.faults

# In their order; a test below finds one that is missing here.
STEPS = (
    "positions moved",
    "readings written",
    "buckets marked",
    "decisions written",
    "rows written",
    "committed",
    "views written",
)


def test_no_step_of_the_projector_is_left_out() -> None:
    sources = "".join((_PROJECTIONS / name).read_text(encoding="utf-8") for name in ("store.py", "projector.py"))
    assert sorted(re.findall(r'_on_step\("([a-z ]+)"\)', sources)) == sorted(STEPS)


@pytest.mark.long_on_stack
def test_every_reading_counts_once_when_the_projector_is_killed_between_any_two_steps(chain: Chain) -> None:
    chain.start("relay")
    chain.kill9("projector")
    with chain.under_load() as load:
        for step in STEPS:
            # Its second batch: there is something before and something after.
            chain.start_doomed_projector(step, batch=2)
            assert chain.wait_for_end("doomed", within_s=30) == -signal.SIGKILL, f"it outlived {step!r}"
            load.wait_for_receipts(50)
        chain.restart("projector")
    chain.judge()


@pytest.mark.long
def test_projectors_that_come_and_go_shift_the_partitions_and_nothing_is_lost(chain: Chain) -> None:
    with chain.under_load() as load:
        chain.start_another_projector("projector-2")
        load.wait_for_receipts(100)
        chain.kill9("projector-2")
        # It sorts before the first, whose partitions become others while the group still waits for the dead one.
        chain.start_another_projector("projector-0")
        load.wait_for_receipts(100)
        chain.kill9("projector-0")
    assert chain.runs("projector")
    chain.judge()


@pytest.mark.long
def test_what_a_killed_projector_had_written_but_not_shown_is_shown_by_who_takes_over(chain: Chain) -> None:
    chain.start_doomed_projector("committed", batch=1, instead=False)
    # Nothing more of these sockets comes after it was killed, which would hide what is not shown.
    seq = 0
    while chain.runs("doomed"):
        assert seq < 60, "it has got no partition"
        asyncio.run(append(chain.world, [reading(chain.world.device_id(f"s{n}"), seq) for n in range(16)]))
        seq += 1
        time.sleep(0.5)
    assert chain.wait_for_end("doomed", within_s=1) == -signal.SIGKILL
    judge_read_models(chain.world)


@pytest.mark.long_on_stack
def test_a_frozen_projector_that_wakes_up_harms_nothing(chain: Chain) -> None:
    with chain.under_load() as load:
        chain.freeze("projector")
        chain.start_another_projector("projector-2")
        chain.wait_for_projected(500, within_s=60)
        chain.thaw("projector")
        load.wait_for_receipts(400)
    chain.judge()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_projector_frozen_for_30_s_while_another_takes_over_harms_nothing(chain: Chain) -> None:
    with chain.under_load() as load:
        for _ in range(2):
            chain.freeze("projector")
            frozen_at_s = time.monotonic()
            chain.start_another_projector("projector-2")
            chain.wait_for_projected(500, within_s=60)
            time.sleep(max(0.0, 30 - (time.monotonic() - frozen_at_s)))  # The fault itself.
            chain.thaw("projector")
            load.wait_for_receipts(800)
            chain.kill9("projector-2")
    chain.judge()
