"""Tenants and sockets: members and invitations, registration, configuration, sharing, commands."""

from __future__ import annotations

from datetime import timedelta

import pytest
from eventsourcing.persistence import RecordConflictError

from domain.errors import InvalidDeviceId, Missing, RuleBroken
from domain.lifecycle.commands import Command, Order
from domain.lifecycle.devices import Device, DeviceConfiguration, device_aggregate_id
from domain.lifecycle.sockets import NewDevice
from domain.lifecycle.tokens import matches_broker_hash, token_sha256
from tests.unit.lifecycle_parts import Parts, cause

ON = Order("switch", relay=True)


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def home(parts: Parts) -> str:
    """Ann's tenant."""
    return parts.sign_up("ann")[1]


def register(parts: Parts, tenant_id: str, device_id: str = "kettle") -> str:
    """The token."""
    registered, _ = parts.sockets.register(tenant_id, [NewDevice(device_id, "Kettle", "Kitchen")], cause())
    return registered[0].token


# --- tenants --------------------------------------------------------------------------------------------


def test_an_invitation_makes_one_member_once(parts: Parts, home: str) -> None:
    bob, _ = parts.sign_up("bob")
    invited = parts.tenancy.invite(home, "operator", cause())
    known = parts.access().invitations[token_sha256(invited.token)]
    parts.tenancy.accept(known.tenant_id, known.invitation_id, bob, cause())
    access = parts.access()
    assert access.tenants[home].members[bob] == "operator"
    assert access.invitations == {}
    carol, _ = parts.sign_up("carol")
    with pytest.raises(Missing):
        parts.tenancy.accept(home, invited.invitation_id, carol, cause())


def test_an_expired_invitation_lets_nobody_in(parts: Parts, home: str) -> None:
    bob, _ = parts.sign_up("bob")
    invited = parts.tenancy.invite(home, "viewer", cause())
    with pytest.raises(Missing, match="expired"):
        parts.tenancy.accept(home, invited.invitation_id, bob, cause(after_s=8 * 86_400))


def test_the_last_owner_can_neither_go_nor_become_less(parts: Parts, home: str) -> None:
    ann = next(iter(parts.access().tenants[home].members))
    bob, _ = parts.sign_up("bob")
    parts.tenancy.add_member(home, bob, "operator", cause())
    with pytest.raises(RuleBroken, match="owner"):
        parts.tenancy.change_role(home, ann, "viewer", cause())
    with pytest.raises(RuleBroken, match="owner"):
        parts.tenancy.remove_member(home, ann, cause())
    parts.tenancy.change_role(home, bob, "owner", cause())
    parts.tenancy.remove_member(home, ann, cause())
    assert parts.access().tenants[home].members == {bob: "owner"}


# --- devices --------------------------------------------------------------------------------------------


def test_a_token_is_kept_as_hashes_that_both_brokers_can_check(parts: Parts, home: str) -> None:
    token = register(parts, home)
    device = parts.access().devices["kettle"]
    assert len(token) == 64
    assert device.token_sha256 == token_sha256(token)
    assert matches_broker_hash(token, device.broker_hash)
    assert not matches_broker_hash(token[::-1], device.broker_hash)
    assert token.encode() not in parts.stored()


def test_names_and_places_of_devices_are_readable_with_the_tenants_key_alone(parts: Parts, home: str) -> None:
    register(parts, home)
    device = parts.access().devices["kettle"]
    assert parts.people.device_name(device) == "Kettle"
    assert parts.people.device_location(device) == "Kitchen"
    assert b"Kitchen" not in parts.stored()
    parts.keys.forget(f"tenant:{home}")
    assert parts.people.device_name(device) is None


def test_a_device_id_is_registered_once(parts: Parts, home: str) -> None:
    _, other = parts.sign_up("bob")
    register(parts, home)
    for tenant in (home, other):
        with pytest.raises(RuleBroken, match="kettle"):
            register(parts, tenant)


@pytest.mark.parametrize("device_id", ["bridge", "dispatcher"])
def test_no_device_is_called_like_a_role(parts: Parts, home: str, device_id: str) -> None:
    with pytest.raises(RuleBroken, match="broker"):
        register(parts, home, device_id)


def test_one_wrong_device_id_registers_none_of_them(parts: Parts, home: str) -> None:
    with pytest.raises(InvalidDeviceId):
        parts.sockets.register(home, [NewDevice("good", "Good"), NewDevice("b a d", "Bad")], cause())
    assert parts.access().devices == {}


def test_a_decommissioned_device_comes_back_to_its_own_tenant_only(parts: Parts, home: str) -> None:
    _, other = parts.sign_up("bob")
    old = register(parts, home)
    parts.sockets.decommission("kettle", cause())
    assert not parts.access().devices["kettle"].commissioned
    with pytest.raises(RuleBroken):
        register(parts, other)
    new = register(parts, home)
    device = parts.access().devices["kettle"]
    assert device.commissioned
    assert matches_broker_hash(new, device.broker_hash)
    assert not matches_broker_hash(old, device.broker_hash)


def test_a_token_of_a_device_out_of_use_cannot_be_rotated(parts: Parts, home: str) -> None:
    register(parts, home)
    parts.sockets.decommission("kettle", cause())
    with pytest.raises(RuleBroken, match="out of use"):
        parts.sockets.rotate_token("kettle", cause())
    assert not parts.access().devices["kettle"].commissioned


def test_a_share_ends_with_the_device(parts: Parts, home: str) -> None:
    bob, _ = parts.sign_up("bob")
    register(parts, home)
    parts.sockets.share("kettle", bob, "switch", cause())
    assert parts.access().device_ids_of(bob) == ["kettle"]
    parts.sockets.decommission("kettle", cause())
    assert parts.access().device_ids_of(bob) == []


def test_a_configuration_counts_its_versions_and_the_same_again_is_none(parts: Parts, home: str) -> None:
    register(parts, home)
    slow, fast = DeviceConfiguration(interval_ms=60_000), DeviceConfiguration(interval_ms=1_000)
    version, command = parts.sockets.configure("kettle", slow, cause())
    assert (version, command is not None) == (1, True)
    assert parts.sockets.configure("kettle", slow, cause()) == (1, None)
    assert parts.sockets.configure("kettle", fast, cause())[0] == 2
    assert parts.access().devices["kettle"].config == {"interval_ms": 1_000}


def test_an_event_tells_what_was_before_but_no_secret(parts: Parts, home: str) -> None:
    register(parts, home)
    parts.sockets.rotate_token("kettle", cause())
    parts.sockets.describe("kettle", home, cause(), name="Boiler", location=None)
    events = list(parts.lifecycle.events.get(device_aggregate_id("kettle")))
    assert events[-2].before == {}
    assert set(events[-1].before) == {"name_sealed", "location_sealed"}


# --- commands -------------------------------------------------------------------------------------------


def test_the_same_idempotency_key_finds_the_first_command(parts: Parts, home: str) -> None:
    register(parts, home)
    first = parts.sockets.request("kettle", ON, cause("user:a"), idempotency_key="k")
    again = parts.sockets.request("kettle", ON, cause("user:a"), idempotency_key="k")
    other = parts.sockets.request("kettle", ON, cause("user:b"), idempotency_key="k")
    assert (first.is_new, again.is_new, other.is_new) == (True, False, True)
    assert again.command_id == first.command_id != other.command_id
    with pytest.raises(RuleBroken, match="another command"):
        parts.sockets.request("kettle", Order("restart"), cause("user:a"), idempotency_key="k")


def test_a_decommissioned_device_takes_no_command(parts: Parts, home: str) -> None:
    register(parts, home)
    parts.sockets.decommission("kettle", cause())
    with pytest.raises(RuleBroken, match="out of use"):
        parts.sockets.request("kettle", ON, cause())


@pytest.mark.parametrize(
    "order",
    [
        Order("switch"),
        Order("toggle", relay=True),
        Order("configure"),
        Order("calibrate"),
        Order("restart", relay=False),
    ],
)
def test_an_order_that_is_not_complete_is_refused(parts: Parts, home: str, order: Order) -> None:
    register(parts, home)
    with pytest.raises(RuleBroken, match="belongs to"):
        parts.sockets.request("kettle", order, cause())


def test_a_command_that_nobody_answers_is_sent_three_times_and_has_failed() -> None:
    command = Command.request("kettle", ON, cause(), why="user", expires_at=cause(after_s=60).at)
    sent_at = [s for s in range(30) if command.advance(cause(after_s=s), online=True)]
    assert sent_at == [0, 2, 6]
    assert command.state == "failed"


def test_a_command_that_was_superseded_is_not_sent_again() -> None:
    command = Command.request("kettle", ON, cause(), why="user", expires_at=cause(after_s=60).at)
    sent_at = [s for s in range(9) if command.advance(cause(after_s=s), online=True, superseded=s > 0)]
    assert sent_at == [0]
    assert command.state == "failed"


def test_a_command_waits_for_its_socket_and_expires_without_an_attempt() -> None:
    command = Command.request("kettle", ON, cause(), why="user", expires_at=cause(after_s=10).at)
    assert not any(command.advance(cause(after_s=s), online=False) for s in range(12))
    assert (command.state, command.attempts) == ("expired", 0)
    command.acknowledge(cause(after_s=13), relay=True, reported_at=None)
    command.acknowledge(cause(after_s=14), relay=True, reported_at=None)
    assert command.state == "expired"
    assert command.version == 3


def test_changes_by_several_at_once_are_all_kept(parts: Parts, home: str) -> None:
    register(parts, home)
    aggregate_id = device_aggregate_id("kettle")
    late = parts.lifecycle.load(Device, aggregate_id)
    bob, _ = parts.sign_up("bob")

    def decide(device: Device) -> None:
        if late.version == device.version:
            parts.sockets.share("kettle", bob, "view", cause())
        device.describe("sealed", None, cause())

    parts.lifecycle.change(Device, aggregate_id, decide)
    assert len(parts.pauses) == 1
    device = parts.lifecycle.load(Device, aggregate_id)
    assert device.name_sealed == "sealed"
    assert device.shares == {bob: "view"}
    assert device.modified_on - device.created_on < timedelta(seconds=1)


def test_who_is_never_the_fastest_tries_eight_times_with_longer_and_longer_pauses(parts: Parts) -> None:
    tries: list[None] = []

    def work() -> None:
        tries.append(None)
        raise RecordConflictError

    with pytest.raises(RecordConflictError):
        parts.lifecycle.retry(work)
    assert len(tries) == len(parts.pauses) + 1 == 8
    assert all(
        longest / 2 <= pause <= longest
        for pause, longest in zip(parts.pauses[:4], (5e-3, 1e-2, 2e-2, 4e-2), strict=True)
    )
    assert len(set(parts.pauses)) > 1
