"""Thirty days of delivery in virtual time: all arrives, rightly dated, in a flat heap, over lost lines and wraps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.firmware.micropython import HEAP_KIB, run
from tests.firmware.test_records import ERASES_PER_DAY

DAYS = 30
BEGAN_MS = 1_764_000_000_000


@pytest.mark.timeout(1_000)
# The ring has 16 sectors, so it wears 16 times as fast as one of 1 MiB.
@pytest.mark.parametrize("interval_s", [300, pytest.param(10, marks=pytest.mark.long)])
def test_a_month_is_delivered_whole_and_rightly_dated_in_a_flat_heap(interval_s: int, tmp_path: Path) -> None:
    measured = DAYS * 86_400 // interval_s
    # The test's own notes of what has arrived, a bit each, and its reading of fifty in a list are no part of it.
    heap_kib = HEAP_KIB + measured // 8 // 1024 + 48
    arguments = (str(DAYS), str(interval_s * 1000), str(tmp_path))
    [told] = run("delivering_days.py", *arguments, heap_kib=heap_kib, timeout_s=900)
    assert told["wraps"] >= 3, "the ticks went round"
    assert told["connections"] > 3 * DAYS
    assert told["doubled"] > 0, "receipts were lost"
    assert told["arrived"] == told["measured"] == measured
    assert told["closed"] == [], "no connection was given up by the socket itself"
    assert (told["waiting"], told["overwritten"], told["misdated"]) == (0, 0, 0)
    assert told["now_ms"] == BEGAN_MS + told["day_ms"], "the clock leapt from its start to the servers' time, once"
    first, *later = told["heap"][1:]
    assert max(later) - first <= 2048
    assert told["erases"] / DAYS <= ERASES_PER_DAY
