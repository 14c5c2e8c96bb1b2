"""Forgetting a person: what they alone owned goes too, what others need stays."""

from __future__ import annotations

from uuid import UUID

import pytest
from eventsourcing.persistence import RecordConflictError

from domain.errors import DependencyUnavailable, Missing, RuleBroken
from domain.lifecycle.claim import ownerless_tenants
from domain.lifecycle.sockets import NewDevice
from domain.lifecycle.users import User
from domain.ports import Beside
from tests.unit.lifecycle_parts import Parts, cause, forget


def test_a_sole_members_tenant_is_dissolved_and_its_sockets_are_out_of_use() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    parts.sockets.register(home, [NewDevice("kettle", "Kettle", "Kitchen")], cause())
    forget(parts, ann)
    access = parts.access()
    assert ann not in access.users
    assert not access.devices["kettle"].commissioned
    assert parts.people.tenant_name(access.tenants[home]) is None
    assert parts.people.device_name(access.devices["kettle"]) is None


def test_a_member_among_others_leaves_and_the_tenant_stays() -> None:
    parts = Parts()
    _, home = parts.sign_up("admin")
    ann, _ = parts.sign_up("ann")
    parts.tenancy.add_member(home, ann, "owner", cause())
    parts.sockets.register(home, [NewDevice("kettle", "Kettle")], cause())
    forget(parts, ann)
    access = parts.access()
    assert ann not in access.tenants[home].members
    assert access.devices["kettle"].commissioned
    assert parts.people.tenant_name(access.tenants[home]) == "admin's home"


def test_the_last_owner_among_others_and_the_last_admin_must_hand_over_first() -> None:
    parts = Parts()
    admin, _ = parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    bob, _ = parts.sign_up("bob")
    parts.tenancy.add_member(home, bob, "viewer", cause())
    with pytest.raises(RuleBroken) as refused:
        parts.plan_departure(ann)
    assert refused.value.kind == "last-owner"
    with pytest.raises(RuleBroken) as refused:
        parts.plan_departure(admin)
    assert refused.value.kind == "last-admin"
    parts.accounts.grant_admin(ann, cause())
    forget(parts, admin)
    assert parts.access().admins == {ann}


def test_nobody_joins_a_dissolved_tenant_or_finds_its_sockets() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    eve, _ = parts.sign_up("eve")
    parts.sockets.register(home, [NewDevice("kettle", "Kettle")], cause())
    invited = parts.tenancy.invite(home, "operator", cause())
    forget(parts, ann)
    assert parts.access().invitations == {}
    for join in (
        lambda: parts.tenancy.accept(home, invited.invitation_id, eve, cause()),
        lambda: parts.tenancy.add_member(home, eve, "owner", cause()),
        lambda: parts.tenancy.invite(home, "viewer", cause()),
        lambda: parts.sockets.register(home, [NewDevice("lamp", "Lamp")], cause()),
    ):
        with pytest.raises(Missing):
            join()
    assert parts.access().tenants[home].members == {}
    assert parts.access().device_ids_of(eve) == []
    assert ownerless_tenants(parts.access()) == []


def test_a_tenant_that_somebody_joins_or_a_socket_that_comes_after_the_plan_stops_the_departure() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    bob, bobs = parts.sign_up("bob")
    invited = [parts.tenancy.invite(one, "viewer", cause()).invitation_id for one in (home, bobs)]
    parts.sockets.register(home, [NewDevice("kettle", "Kettle")], cause())
    for meanwhile, refusal in (
        (lambda: parts.tenancy.accept(bobs, invited[1], ann, cause()), RecordConflictError),
        (lambda: parts.accounts.grant_admin(ann, cause()), RecordConflictError),
        (lambda: parts.sockets.register(home, [NewDevice("lamp", "Lamp")], cause()), RecordConflictError),
        (lambda: parts.tenancy.accept(home, invited[0], bob, cause()), RuleBroken),
    ):
        departure = parts.plan_departure(ann)
        meanwhile()
        with pytest.raises(refusal):
            parts.carry_out(departure)
    access = parts.access()
    assert access.device_ids_of(ann) == ["kettle", "lamp"]
    assert parts.people.tenant_name(access.tenants[home]) == "ann's home"


def test_a_tenant_that_an_earlier_version_dissolved_without_a_word_lets_nobody_in() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    parts.tenancy.invite(home, "operator", cause())
    parts.lifecycle.change(User, UUID(ann), lambda user: user.forget(cause()))
    assert parts.access().invitations == {}
    assert parts.access().tenants[home].dissolved


def test_a_departure_whose_keys_cannot_be_deleted_changes_nothing() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    parts.sockets.register(home, [NewDevice("kettle", "Kettle")], cause())
    departure, before = parts.plan_departure(ann), parts.stored()

    def broken(_subject: str) -> Beside:
        def fail(_connection: object) -> None:
            raise DependencyUnavailable("database", "gone")

        return fail

    forgetting, parts.keys.forgetting = parts.keys.forgetting, broken  # type: ignore[method-assign]
    with pytest.raises(DependencyUnavailable):
        parts.carry_out(departure)
    assert parts.stored() == before
    parts.keys.forgetting = forgetting  # type: ignore[method-assign]
    parts.carry_out(departure)
    assert ann not in parts.access().users


def test_what_was_half_done_by_an_earlier_version_can_be_done_again() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    parts.sockets.register(home, [NewDevice("kettle", "Kettle"), NewDevice("lamp", "Lamp")], cause())
    parts.sockets.decommission("kettle", cause())
    parts.personal.keys.forget(f"tenant:{home}")
    forget(parts, ann)
    assert ann not in parts.access().users
    with pytest.raises(Missing):
        parts.accounts.rename(ann, "Ann", cause())


def test_one_id_that_is_taken_registers_none_of_the_list() -> None:
    parts = Parts()
    _, home = parts.sign_up("ann")
    _, elsewhere = parts.sign_up("bob")
    parts.sockets.register(elsewhere, [NewDevice("s-250", "Theirs")], cause())
    with pytest.raises(RuleBroken, match="s-250"):
        parts.sockets.register(home, [NewDevice(f"s-{n}", "Mine") for n in range(300)], cause())
    assert set(parts.access().devices) == {"s-250"}
