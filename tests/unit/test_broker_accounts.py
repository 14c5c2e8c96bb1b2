"""The role that writes Mosquitto's files tells it so, also what another one wrote before it died."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from domain.lifecycle.tokens import broker_hash
from ops.broker_accounts import BrokerAccounts
from ops.service_users import bridge_user
from ops.stack.mosquitto_accounts import MosquittoAccounts


async def test_files_that_somebody_wrote_and_told_nobody_of_are_read_by_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Path] = []
    monkeypatch.setattr("ops.broker_accounts.reload_accounts", lambda pid_file, _address: not told.append(pid_file))
    services, hashes = [bridge_user("bridge", "b")], {"one": broker_hash("1")}
    died = MosquittoAccounts(tmp_path / "passwords", tmp_path / "acl")
    died.admit_services(services)
    died.keep_devices(hashes)
    access: Any = SimpleNamespace(broker_hashes=lambda: hashes)
    next_one = MosquittoAccounts(tmp_path / "passwords", tmp_path / "acl")
    accounts = BrokerAccounts(next_one, tmp_path / "pid", ("127.0.0.1", 1), services)
    await accounts.write(access)
    assert len(told) == 1
    await accounts.write(access)
    assert len(told) == 1
    hashes["two"] = broker_hash("2")
    await accounts.write(access)
    assert len(told) == 2
