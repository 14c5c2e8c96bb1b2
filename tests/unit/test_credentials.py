"""Secrets are made once, stay private, and give every device its own token."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from domain.errors import SettingInvalid
from ops.credentials import bridge_password, device_token, fleet_secret, stored_secret


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    secret = fleet_secret(tmp_path)
    assert len(secret) == 32
    assert fleet_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "fleet.secret").stat().st_mode) == 0o600
    assert bridge_password(tmp_path) != secret.hex()


def test_everyone_who_asks_at_once_gets_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = set(threads.map(lambda _: stored_secret(tmp_path / "new" / "one.secret"), range(64)))
    assert len(answers) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.secret"]


def test_a_token_is_64_hex_digits_and_belongs_to_one_device() -> None:
    # HMAC-SHA256 of "socket-1" under 32 zero bytes, from `openssl dgst -sha256 -mac HMAC`.
    token = device_token(bytes(32), "socket-1")
    assert token == "b0f8974939494a793e50261f024ff6a16c8f443a316e1546365f7977d5830f2c"
    assert device_token(bytes(32), "socket-2") != token
    assert device_token(bytes([1]) + bytes(31), "socket-1") != token


def test_a_damaged_secret_is_named_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "fleet.secret").write_text("short")
    with pytest.raises(SettingInvalid, match=r"fleet\.secret does not hold 64 hex digits"):
        fleet_secret(tmp_path)
    assert (tmp_path / "fleet.secret").read_text() == "short"


def test_a_data_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingInvalid, match=r"WATTAWAY_DATA_DIR: cannot keep a secret in .*file"):
        fleet_secret(tmp_path / "file")
