"""Secrets are made once and stay private."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from domain.errors import SettingInvalid
from ops.credentials import bridge_password, stored_secret


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    secret = bridge_password(tmp_path)
    assert len(bytes.fromhex(secret)) == 32
    assert bridge_password(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "bridge.secret").stat().st_mode) == 0o600
    assert stored_secret(tmp_path / "master.secret") != secret


def test_everyone_who_asks_at_once_gets_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = set(threads.map(lambda _: stored_secret(tmp_path / "new" / "one.secret"), range(64)))
    assert len(answers) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.secret"]


def test_a_damaged_secret_is_named_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "bridge.secret").write_text("short")
    with pytest.raises(SettingInvalid, match=r"bridge\.secret does not hold 64 hex digits"):
        bridge_password(tmp_path)
    assert (tmp_path / "bridge.secret").read_text() == "short"


def test_a_data_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingInvalid, match=r"WATTAWAY_DATA_DIR: cannot keep a secret in .*file"):
        bridge_password(tmp_path / "file")
