"""Forgetting a person: what they alone owned goes too, what others need stays."""

from __future__ import annotations

import pytest

from domain.errors import Missing, RuleBroken
from domain.lifecycle.departure import Farewell, plan_departure
from domain.lifecycle.sockets import NewDevice
from tests.unit.lifecycle_parts import Parts, cause


def _farewell(parts: Parts) -> Farewell:
    return Farewell(parts.accounts, parts.tenancy, parts.sockets, parts.personal)


def test_a_sole_members_tenant_is_dissolved_and_its_sockets_are_out_of_use() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    parts.sockets.register(home, [NewDevice("kettle", "Kettle", "Kitchen")], cause())
    _farewell(parts).carry_out(plan_departure(parts.access(), ann), cause())
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
    _farewell(parts).carry_out(plan_departure(parts.access(), ann), cause())
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
        plan_departure(parts.access(), ann)
    assert refused.value.kind == "last-owner"
    with pytest.raises(RuleBroken) as refused:
        plan_departure(parts.access(), admin)
    assert refused.value.kind == "last-admin"
    parts.accounts.grant_admin(ann, cause())
    _farewell(parts).carry_out(plan_departure(parts.access(), admin), cause())
    assert parts.access().admins == {ann}


def test_a_departure_that_broke_off_can_be_carried_out_again() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    parts.sockets.register(home, [NewDevice("kettle", "Kettle"), NewDevice("lamp", "Lamp")], cause())
    parts.sockets.decommission("kettle", cause())
    parts.personal.keys.forget(f"tenant:{home}")
    _farewell(parts).carry_out(plan_departure(parts.access(), ann), cause())
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
