"""When something happened that a socket noticed before anybody had told it the time, in virtual time."""

from __future__ import annotations

from pathlib import Path

from tests.firmware.micropython import run

NEAR_MS = 5
"""A task that sleeps is due a few ms later than it asked for."""


def test_what_happened_before_the_time_was_known_is_dated_once_it_is(tmp_path: Path) -> None:
    first, second, told = run("undated.py", str(tmp_path))
    reading = next(one for one in told["sent"] if "seq" in one)
    assert reading["boot"] == "00000001", "of the boot that never reached its engine"
    assert abs(reading.get("at", 0) - first["noticed_at"]) <= NEAR_MS
    presence, answer, *events = [one for one in told["sent"] if "boot" not in one or "online" in one]
    assert presence["online"]
    assert answer["command"] == "c", "an answer does not wait for the time"
    assert [(one["event"], one["count"]) for one in events] == [("trip", 1)] + [("warning", at) for at in range(6, 20)]
    assert all(abs(one.get("at", 0) - second["noticed_at"]) <= NEAR_MS for one in events)
    assert not any("up" in one for one in events)
