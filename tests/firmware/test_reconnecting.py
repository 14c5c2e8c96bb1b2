"""How long a socket pauses before it tries again, in virtual time."""

from __future__ import annotations

from itertools import chain, repeat

from tests.firmware.micropython import run

LATE_MS = 5
"""A task that sleeps is due a few ms later than it asked for."""


def test_pauses_grow_from_one_to_sixty_seconds_with_jitter_until_a_receipt_comes() -> None:
    [told] = run("reconnect.py")
    longest = chain([1, 2, 4, 8, 16, 32], repeat(60))
    for pause_ms, most_s in zip(told["refused"], longest, strict=False):
        assert most_s * 500 <= pause_ms <= most_s * 1000 + LATE_MS
    assert len(set(told["refused"][6:])) > 1, "a fleet must not come back at once"
    # A broker that takes the line and loses it again is no better than one that refuses it …
    assert all(31_000 <= pause_ms <= 61_000 + LATE_MS for pause_ms in told["lost"])
    # … but a receipt says that all is well up to the log.
    assert all(1_500 <= pause_ms <= 2_000 + LATE_MS for pause_ms in told["receipted"])
    for pause_ms, most_s in zip(told["refused_again"], [2, 4, 8], strict=False):
        assert most_s * 500 <= pause_ms <= most_s * 1000 + LATE_MS
