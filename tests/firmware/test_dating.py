"""When something happened that a socket noticed before anybody had told it the time, in virtual time."""

from __future__ import annotations

from pathlib import Path

from tests.firmware.micropython import run


def test_readings_from_before_the_time_was_known_are_dated_though_the_engine_was_never_reached(tmp_path: Path) -> None:
    measured, told = run("undated.py", str(tmp_path))
    reading = next(one for one in told["sent"] if "seq" in one)
    assert reading["boot"] == "00000001", "the boot before"
    assert abs(reading.get("at", 0) - measured["measured_at"]) <= 5
