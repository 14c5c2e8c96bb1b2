"""Forgetting a person for good: out of every tenant, off the site, and what they alone owned is dissolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.errors import RuleBroken
from domain.lifecycle.access import Access
from domain.lifecycle.cause import Cause
from domain.lifecycle.devices import Device, device_aggregate_id
from domain.lifecycle.entity import Entity
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.personal import Personal, tenant_subject, user_subject
from domain.lifecycle.site import SITE_ID, Site
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.users import User
from domain.ports import AsOf

_WOULD_BE_MORE: tuple[Any, ...] = (
    Tenant.Founded,
    Tenant.MemberAdded,
    Tenant.InvitationAccepted,
    Site.AdminGranted,
    Device.Registered,
    Device.TokenRotated,
)
"""What would leave more behind than was planned; what was planned, the aggregates themselves check."""


@dataclass(frozen=True)
class Departure:
    """What a person leaves behind."""

    user_id: str
    is_admin: bool
    left: tuple[str, ...]
    """Tenants that have other members."""
    dissolved: tuple[str, ...]
    """Tenants of this member alone."""
    decommissioned: tuple[str, ...]
    """The devices of those that are still in use."""
    as_of: AsOf


def plan_departure(access: Access, user_id: str, position: int) -> Departure:
    """What it takes to forget this user.

    Args:
        position: the notification id up to which `access` has followed the log.
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
    as_of = AsOf(position, tuple(event.TOPIC for event in _WOULD_BE_MORE))
    return Departure(user_id, user_id in access.admins, tuple(left), tuple(dissolved), in_use, as_of)


class Farewell:
    """Blocking. Carries a departure out, in one commit: nobody is half forgotten, and nothing outlives its owner."""

    def __init__(self, lifecycle: Lifecycle, personal: Personal) -> None:
        self._lifecycle, self._personal = lifecycle, personal

    def carry_out(self, departure: Departure, cause: Cause) -> int:
        """The newest notification id.

        Raises:
            Missing: the user is forgotten already.
            RuleBroken: somebody else left a tenant or the site meanwhile, so that this is its last owner or admin, or
                somebody has joined one that was to be dissolved.
            RecordConflictError: the plan holds no longer, as people joined or devices came meanwhile.
        """
        return self._lifecycle.retry(lambda: self._store(departure, cause))

    def _store(self, departure: Departure, cause: Cause) -> int:
        user = self._lifecycle.load(User, UUID(departure.user_id))
        user.forget(cause)
        changed = [*self._ended(departure, cause), *self._left(departure, cause)]
        subjects = [user_subject(departure.user_id), *map(tenant_subject, departure.dissolved)]
        forgetting = [self._personal.keys.forgetting(subject) for subject in subjects]
        return self._lifecycle.store(*changed, user, beside=forgetting, as_of=departure.as_of)

    def _ended(self, departure: Departure, cause: Cause) -> list[Entity]:
        """What this person alone owned."""
        tenants = [self._lifecycle.load(Tenant, UUID(tenant_id)) for tenant_id in departure.dissolved]
        for tenant in tenants:
            tenant.dissolve(departure.user_id, cause)
        found = [self._lifecycle.load(Device, device_aggregate_id(one)) for one in departure.decommissioned]
        devices = [device for device in found if device.commissioned]
        for device in devices:
            device.decommission(cause)
        return [*tenants, *devices]

    def _left(self, departure: Departure, cause: Cause) -> list[Entity]:
        """What goes on without this person."""
        tenants = [self._lifecycle.load(Tenant, UUID(tenant_id)) for tenant_id in departure.left]
        for tenant in tenants:
            if departure.user_id in tenant.members:
                tenant.remove_member(departure.user_id, cause)
        if not departure.is_admin:
            return [*tenants]
        site = self._lifecycle.load(Site, SITE_ID)
        if departure.user_id in site.admins:
            site.revoke_admin(departure.user_id, cause)
        return [*tenants, site]
