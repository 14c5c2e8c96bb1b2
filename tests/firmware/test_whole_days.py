"""Hours and a month of the whole firmware, with its timer and each kind of meter, in virtual time and a flat heap."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.firmware.micropython import FIRMWARE, WHOLE_HEAP_KIB, run

# The mains, the clock and the test's story are no part of the firmware.
HEAP_KIB = WHOLE_HEAP_KIB + 24
HEAP_MAY_GROW = 2048
MONTH = 30 * 24


@pytest.mark.timeout(3_700)
@pytest.mark.parametrize("board", ["pulse-bl0937", "uart-bl0942"])
@pytest.mark.parametrize(
    ("hours", "period_ms", "wraps"), [(2, 1_000, 1), pytest.param(MONTH, 1_000, 3, marks=pytest.mark.long)]
)
def test_the_whole_socket_meters_for_long_in_a_flat_heap(
    hours: int, period_ms: int, wraps: int, board: str, tmp_path: Path
) -> None:
    path = FIRMWARE / "boards" / f"{board}.json"
    arguments = (str(hours), str(period_ms), str(path), str(tmp_path))
    [told] = run("whole_days.py", *arguments, heap_kib=HEAP_KIB, timeout_s=3_600)
    assert told["hours"] >= hours - 1
    assert told["wraps"] == wraps
    assert told["checks"] == pytest.approx(hours * 3_600_000 / period_ms, rel=0.01)
    assert (told["relay"], told["trip"], told["faults"], told["bites"]) == (True, "none", 0, False)
    assert told["energy_mwh"] == pytest.approx(told["true_mwh"], rel=0.01)
    assert told["stored"] == pytest.approx(hours * 360, rel=0.01), "a reading every 10 s"
    # The ring is full, and the heap settled, after half of the shortest run.
    settled = told["heap"][5:]
    assert max(settled) - settled[0] <= HEAP_MAY_GROW
