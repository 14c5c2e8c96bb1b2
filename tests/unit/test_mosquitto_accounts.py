"""Mosquitto's password and ACL files say what they should, whole, and to nobody else."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from domain.errors import InvalidDeviceId, SettingInvalid
from ops.stack.mosquitto_accounts import MosquittoAccounts, password_hash


def test_a_hash_is_the_salted_pbkdf2_that_mosquitto_computes() -> None:
    empty, kind, rounds, salt, derived = password_hash("secret").split("$")
    assert (empty, kind) == ("", "7")
    assert len(base64.b64decode(salt)) == 12
    expected = hashlib.pbkdf2_hmac("sha512", b"secret", base64.b64decode(salt), int(rounds))
    assert base64.b64decode(derived) == expected


def test_equal_passwords_have_different_hashes() -> None:
    assert password_hash("secret") != password_hash("secret")


def test_a_change_keeps_what_another_process_has_written(tmp_path: Path) -> None:
    first = MosquittoAccounts(tmp_path)
    first.admit_bridge("bridge", "b")
    first.admit_devices({"one": "1", "two": "2"})
    second = MosquittoAccounts(tmp_path)
    second.dismiss(["two"])
    first.admit_devices({"three": "3"})
    names = [line.split(":")[0] for line in second.password_path.read_text().splitlines()]
    assert names == ["bridge", "one", "three"]
    assert "user bridge\ntopic read devices/+/data\n" in second.acl_path.read_text()
    assert second.device_count == 2


def test_the_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    accounts = MosquittoAccounts(tmp_path)
    accounts.admit_devices({"one": "1"})
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_device_cannot_take_the_bridges_name(tmp_path: Path) -> None:
    accounts = MosquittoAccounts(tmp_path)
    accounts.admit_bridge("bridge", "b")
    with pytest.raises(SettingInvalid, match="bridge"):
        accounts.admit_devices({"bridge": "1"})


@pytest.mark.parametrize("device_id", ["a:b", "a\nb", "#", "+", ""])
def test_a_name_that_would_break_the_files_is_refused(tmp_path: Path, device_id: str) -> None:
    with pytest.raises(InvalidDeviceId):
        MosquittoAccounts(tmp_path).admit_devices({device_id: "1"})
