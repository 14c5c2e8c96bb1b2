"""One owner of a data dir at a time; leftovers go; everything wrong is one line with what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from domain.errors import SettingInvalid
from ops.data_dir import owned, remember_children


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)


def test_a_second_owner_is_told_of_the_first(tmp_path: Path) -> None:
    with (
        owned(tmp_path),
        pytest.raises(SettingInvalid, match=rf"another `wattaway up` \(process {os.getpid()}\)"),
        owned(tmp_path),
    ):
        pytest.fail("two owners")
    with owned(tmp_path):
        pass


def test_an_owner_that_was_killed_gives_the_data_dir_back(tmp_path: Path) -> None:
    program = f"""
import pathlib, time
from ops.data_dir import owned
with owned(pathlib.Path({str(tmp_path)!r})):
    print("mine", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        with pytest.raises(SettingInvalid), owned(tmp_path):
            pytest.fail("two owners")
        owner.kill()
    with owned(tmp_path):
        pass


def test_children_of_a_killed_owner_are_ended(tmp_path: Path) -> None:
    with sleeper() as child:
        remember_children(tmp_path, {"kafka": child.pid})
        with owned(tmp_path):
            child.wait(10)  # it would sleep for ten minutes
    assert not (tmp_path / "children.json").exists()


def test_a_stranger_with_a_reused_process_id_is_left_alone(tmp_path: Path) -> None:
    with sleeper() as stranger:
        earlier = psutil.Process(stranger.pid).create_time() - 100
        (tmp_path / "children.json").write_text(json.dumps({"kafka": {"pid": stranger.pid, "created": earlier}}))
        with owned(tmp_path):
            assert stranger.poll() is None
        stranger.kill()


def test_a_damaged_list_of_children_does_not_hinder(tmp_path: Path) -> None:
    (tmp_path / "children.json").write_text("{")
    with owned(tmp_path):
        pass


def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1 << 40, 1 << 40, 5 << 20))
    with pytest.raises(SettingInvalid, match=r"only 5 MiB are free .* make room"), owned(tmp_path):
        pytest.fail("started on a full disk")


def test_a_data_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingInvalid, match=r"WATTAWAY_DATA_DIR: .*file is not a folder"), owned(tmp_path / "file"):
        pytest.fail("a file is no folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_dir_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SettingInvalid, match=r"WATTAWAY_DATA_DIR: .* cannot be written"), owned(tmp_path / "new"):
        pytest.fail("wrote where it may not")
