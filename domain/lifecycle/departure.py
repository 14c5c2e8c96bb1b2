"""Forgetting a person for good: out of every tenant, off the site, and what they alone owned is dissolved."""

from __future__ import annotations

from dataclasses import dataclass

from domain.errors import RuleBroken
from domain.lifecycle.access import Access
from domain.lifecycle.accounts import Accounts
from domain.lifecycle.cause import Cause
from domain.lifecycle.personal import Personal, tenant_subject
from domain.lifecycle.sockets import Sockets
from domain.lifecycle.tenancy import Tenancy


@dataclass(frozen=True)
class Departure:
    """What a person leaves behind. Done again after a crash half way, it does the rest."""

    user_id: str
    is_admin: bool
    left: tuple[str, ...]
    """Tenants that have other members."""
    dissolved: tuple[str, ...]
    """Tenants of this member alone."""
    decommissioned: tuple[str, ...]
    """The devices of those that are still in use."""


def plan_departure(access: Access, user_id: str) -> Departure:
    """What it takes to forget this user.

    Raises:
        RuleBroken: nobody else could manage a tenant (`last-owner`) or the site (`last-admin`) afterwards.
    """
    if access.admins == {user_id}:
        raise RuleBroken("last-admin", "a site keeps at least one admin; make somebody else an admin first")
    left: list[str] = []
    dissolved: list[str] = []
    for tenant_id in sorted(access.users[user_id].tenant_ids):
        members = access.tenants[tenant_id].members
        if len(members) == 1:
            dissolved.append(tenant_id)
        elif [one for one, role in members.items() if role == "owner"] == [user_id]:
            raise RuleBroken("last-owner", "you are a tenant's last owner; make another member an owner first")
        else:
            left.append(tenant_id)
    owned = (device_id for tenant_id in dissolved for device_id in sorted(access.tenants[tenant_id].device_ids))
    in_use = tuple(device_id for device_id in owned if access.devices[device_id].commissioned)
    return Departure(user_id, user_id in access.admins, tuple(left), tuple(dissolved), in_use)


class Farewell:
    """Blocking. Carries a departure out."""

    def __init__(self, accounts: Accounts, tenancy: Tenancy, sockets: Sockets, personal: Personal) -> None:
        self._accounts, self._tenancy, self._sockets, self._personal = accounts, tenancy, sockets, personal

    def carry_out(self, departure: Departure, cause: Cause) -> int:
        """The user is forgotten last: until then, who leaves can try again.

        Raises:
            RuleBroken: somebody else left a tenant or the site meanwhile, so that this is its last owner or admin.
        """
        for tenant_id in departure.left:
            self._tenancy.remove_member(tenant_id, departure.user_id, cause)
        if departure.is_admin:
            self._accounts.revoke_admin(departure.user_id, cause)
        for device_id in departure.decommissioned:
            self._sockets.decommission(device_id, cause)
        for tenant_id in departure.dissolved:
            self._personal.keys.forget(tenant_subject(tenant_id))
        return self._accounts.forget(departure.user_id, cause)
