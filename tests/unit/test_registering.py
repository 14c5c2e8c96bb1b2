"""Operators' tools register their sockets once, keep the tokens to themselves, and say what stands in the way."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from domain.errors import InvalidDeviceId, SettingInvalid
from domain.lifecycle.cause import system_cause
from domain.lifecycle.devices import Device, device_aggregate_id
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.tokens import TOKEN_LENGTH
from ops.application import open_application
from ops.registering import TOKENS_FILE, demo_tenant_id, registration
from ops.settings import Settings
from ops.wiring import migrate
from tests.servers import settings_from

IDS = ["one", "two", "three"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = settings_from({"WATTAWAY_DATA_DIR": str(tmp_path), "WATTAWAY_REDIS_URL": "redis://127.0.0.1:1"})
    migrate(found)
    return found


def register(settings: Settings, *device_ids: str) -> tuple[dict[str, str], dict[str, str]]:
    with registration(settings) as registering:
        return registering.tokens(device_ids)


def test_the_first_start_registers_and_later_ones_go_on_with_the_same_tokens(settings: Settings) -> None:
    tokens, refused = register(settings, *IDS)
    assert list(tokens) == IDS
    assert not refused
    assert {len(token) for token in tokens.values()} == {TOKEN_LENGTH}
    assert stat.S_IMODE((settings.data_dir / TOKENS_FILE).stat().st_mode) == 0o600
    more, _ = register(settings, *IDS, "four")
    assert more == {**tokens, "four": more["four"]}
    with open_application(settings) as application:
        device = application.lifecycle.load(Device, device_aggregate_id("one"))
    assert device.tenant_id == demo_tenant_id()
    assert device.version == 1


def test_a_dissolved_tenant_gets_no_sockets_and_the_reason_is_said(settings: Settings) -> None:
    register(settings, "one")
    cause = system_cause("test", datetime.now(UTC))

    def dissolve(tenant: Tenant) -> None:
        tenant.add_member("somebody", "owner", cause)
        tenant.dissolve("somebody", cause)

    with open_application(settings) as application:
        application.lifecycle.change(Tenant, UUID(demo_tenant_id()), dissolve)
    with pytest.raises(SettingInvalid, match=r"cannot be registered: .*tenant"):
        register(settings, "two")


def test_a_rotated_an_unknown_and_a_decommissioned_one_are_named_with_the_reason(settings: Settings) -> None:
    tokens, _ = register(settings, *IDS, "four")
    cause = system_cause("test", datetime.now(UTC))
    with open_application(settings) as application:
        application.sockets.rotate_token("one", cause)
        application.sockets.decommission("two", cause)
    path = settings.data_dir / TOKENS_FILE
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("four")))

    left, refused = register(settings, *IDS, "four")

    assert left == {"three": tokens["three"]}
    assert "rotated" in refused["one"]
    assert "out of use" in refused["two"]
    assert "is not in" in refused["four"]
    with registration(settings) as registering, pytest.raises(SettingInvalid, match="device 'two' was taken out"):
        registering.token("two")


def test_a_crash_between_keeping_and_registering_loses_no_token(settings: Settings) -> None:
    (settings.data_dir / TOKENS_FILE).write_text(f"one {'1' * TOKEN_LENGTH}\ntwo {'2' * 20}")
    tokens, refused = register(settings, "one", "two")
    assert not refused
    assert tokens["one"] == "1" * TOKEN_LENGTH
    assert len(tokens["two"]) == TOKEN_LENGTH
    assert register(settings, "one", "two")[0] == tokens


def test_two_tools_that_start_at_once_agree(settings: Settings) -> None:
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: register(settings, *IDS)[0], range(2))
    assert first == second


def test_what_is_no_device_id_is_refused_before_anything_is_registered(settings: Settings) -> None:
    with pytest.raises(InvalidDeviceId):
        register(settings, "fine", "not/fine")
    assert not (settings.data_dir / TOKENS_FILE).exists()


def test_without_tables_it_says_what_to_run(tmp_path: Path) -> None:
    bare = settings_from({"WATTAWAY_DATA_DIR": str(tmp_path)})
    with pytest.raises(SettingInvalid, match="wattaway migrate"):
        register(bare, "one")


@pytest.mark.long
def test_ten_thousand_are_registered_at_once(settings: Settings) -> None:
    tokens, refused = register(settings, *(f"socket-{number}" for number in range(10_000)))
    assert len(tokens) == 10_000
    assert not refused
