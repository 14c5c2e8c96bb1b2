"""Mosquitto's password and ACL files say what they should, whole, and to nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.lifecycle.tokens import broker_hash, matches_broker_hash
from ops.service_users import bridge_user
from ops.stack.mosquitto_accounts import MosquittoAccounts

BRIDGE = bridge_user("bridge", "b")


@pytest.fixture
def accounts(tmp_path: Path) -> MosquittoAccounts:
    return MosquittoAccounts(tmp_path / "passwords", tmp_path / "acl")


def same_files(accounts: MosquittoAccounts) -> MosquittoAccounts:
    """As another process opens them."""
    return MosquittoAccounts(accounts.password_path, accounts.acl_path)


def test_a_change_keeps_what_another_process_has_written(accounts: MosquittoAccounts) -> None:
    other = same_files(accounts)
    assert accounts.admit_services([BRIDGE])
    assert other.admit_services([bridge_user("second", "s")])
    assert accounts.keep_devices({"one": broker_hash("1"), "two": broker_hash("2")})
    assert other.dismiss_services(["second"])
    assert accounts.keep_devices({"one": broker_hash("1")})
    assert accounts.device_ids == other.device_ids == {"one"}
    acl = accounts.acl_path.read_text()
    assert "user bridge\ntopic read devices/+/data\n" in acl
    assert "second" not in acl + accounts.password_path.read_text()


def test_what_is_so_already_is_not_written_again(accounts: MosquittoAccounts) -> None:
    devices = {"one": broker_hash("1")}
    accounts.admit_services([BRIDGE])
    accounts.keep_devices(devices)
    before = accounts.password_path.stat().st_ino
    assert not same_files(accounts).admit_services([BRIDGE])
    assert not same_files(accounts).keep_devices(devices)
    assert accounts.password_path.stat().st_ino == before


def test_a_roles_new_password_replaces_the_old_one(accounts: MosquittoAccounts) -> None:
    accounts.admit_services([BRIDGE])
    assert accounts.admit_services([bridge_user("bridge", "new")])
    (line,) = accounts.password_path.read_text().splitlines()
    assert matches_broker_hash("new", line.removeprefix("bridge:"))


def test_a_file_that_is_gone_comes_back(accounts: MosquittoAccounts) -> None:
    accounts.keep_devices({"one": broker_hash("1")})
    accounts.acl_path.unlink()
    assert accounts.keep_devices({"one": broker_hash("1")})
    assert "pattern write devices/%u/data" in accounts.acl_path.read_text()


def test_the_files_are_readable_by_their_owner_alone(accounts: MosquittoAccounts) -> None:
    accounts.keep_devices({"one": broker_hash("1")})
    for path in (accounts.password_path, accounts.acl_path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_device_called_like_a_role_stays_out(accounts: MosquittoAccounts) -> None:
    accounts.admit_services([BRIDGE])
    accounts.keep_devices({"bridge": broker_hash("1"), "one": broker_hash("1")})
    passwords = dict(line.split(":", 1) for line in accounts.password_path.read_text().splitlines())
    assert accounts.device_ids == {"one"}
    assert matches_broker_hash("b", passwords["bridge"])
