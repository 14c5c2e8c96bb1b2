"""The whole firmware in MicroPython: what the button's long presses lead to, over the restarts that they cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import protection
import pytest

from tests.firmware.micropython import FIRMWARE, RESTARTED, WHOLE_HEAP_KIB, run

SERVER = {"mqtt": "mqtt://127.0.0.1:1", "http": "http://127.0.0.1:1", "device_id": "d1", "token": "ab" * 32, "ntp": []}
HOME = {"ssid": "Home", "password": "pass"}


def lived(flash: Path, *, press_ms: int = 0, run_s: int = 1, status: int = 0, **more: Any) -> list[dict[str, Any]]:
    board = str(FIRMWARE / "boards" / "uart-cse7766.json")
    (flash / "plan.json").write_text(json.dumps({"board": board, "press_ms": press_ms, "run_s": run_s, **more}))
    return run("whole_socket.py", str(flash), heap_kib=WHOLE_HEAP_KIB, status=status)


def test_a_long_press_leads_to_set_up_with_the_load_off_and_a_time_out_back_once_it_is_off(tmp_path: Path) -> None:
    [before] = lived(tmp_path, access=HOME, press_ms=6_000, run_s=20, status=RESTARTED)
    assert before["relay"]
    assert not before["ble"]
    setting_up, late = lived(tmp_path, run_s=660, off_in_the_end=True, status=RESTARTED)
    assert setting_up["ble"]
    assert (late["ble"], late["relay"]) == (True, True), "a time-out switches nobody's load off"
    before, after = lived(tmp_path)
    assert not before["ble"]
    assert after["ssid"] == "Home"
    assert not after["bites"]


def test_a_very_long_press_forgets_the_owner_but_not_what_was_metered(tmp_path: Path) -> None:
    [before] = lived(tmp_path, access=HOME, press_ms=16_000, run_s=20, status=RESTARTED)
    assert before["energy_mwh"] > 8_000
    _, after = lived(tmp_path)
    assert after["ssid"] is None
    assert after["ble"], "a socket that knows no network waits to be set up"
    assert after["energy_mwh"] > before["energy_mwh"] + 8_000


def test_a_socket_without_network_goes_on_as_a_switch(tmp_path: Path) -> None:
    before, after = lived(tmp_path, press_ms=300)
    assert (before["relay"], after["relay"]) == (True, False)
    assert not after["bites"]


@pytest.mark.parametrize("missing", ["wifi_on", "radio_works"])
def test_a_socket_that_does_not_get_into_its_wifi_goes_on_measuring(missing: str, tmp_path: Path) -> None:
    before, after = lived(tmp_path, access={**HOME, **SERVER}, run_s=300, world={missing: False})
    assert (before["relay"], after["relay"]) == (True, True)
    assert after["stored"] >= before["stored"] + 29
    assert not after["bites"]


def test_a_trip_from_before_a_restart_is_told_again(tmp_path: Path) -> None:
    before, _ = lived(tmp_path, access={**HOME, **SERVER}, tripped=protection.OVER_POWER)
    told = {"event": "trip", "cause": "over_power", "again": True}
    assert [{**event, "up": None} for event in before["untold"]] == [{**told, "up": None}]


def test_a_socket_that_kept_a_certificate_that_is_none_goes_on_as_a_switch(tmp_path: Path) -> None:
    access = {**HOME, **SERVER, "mqtt": "mqtts://127.0.0.1:1", "ca": "-----BEGIN CERTIFICATE-----\nnone"}
    before, after = lived(tmp_path, access=access, press_ms=300, run_s=60)
    assert (before["relay"], after["relay"]) == (True, False)
    assert not after["bites"]


@pytest.mark.parametrize(
    "defect",
    [
        ["time_sync", "TimeSync", "ask_once"],
        ["connection", "Connection", "run"],
        ["set_up_serial", "SerialSetUp", "run"],
        ["application", "Application", "_measure"],
    ],
    ids=lambda defect: defect[1] + "." + defect[2],
)
def test_a_part_that_fails_again_and_again_takes_nothing_else_with_it(defect: list[str], tmp_path: Path) -> None:
    before, after = lived(tmp_path, access={**HOME, **SERVER}, press_ms=300, run_s=120, defects=[defect])
    assert (before["relay"], after["relay"]) == (True, False), "the button works"
    assert not after["bites"]


def test_a_socket_whose_engine_is_away_goes_on_as_a_switch_and_its_load_stays(tmp_path: Path) -> None:
    before, after = lived(tmp_path, access={**HOME, **SERVER}, run_s=1_800)
    assert (before["relay"], after["relay"]) == (True, True)
    assert after["energy_mwh"] == pytest.approx(before["energy_mwh"] + 250_000, rel=0.01)
    assert not after["bites"]
