"""Who may do what: the one table, and the one function that reads it.

A thing that the asker may not even see is answered as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from domain.errors import Denied, Missing
from domain.lifecycle.access import Access
from domain.lifecycle.commands import CommandType
from domain.lifecycle.users import Scope

Grant = Literal[
    "owner", "operator", "viewer", "share:view", "share:switch", "share:manage", "admin", "signed-in", "device"
]
"""What connects the asker with the thing: a role in its tenant, a share, being an admin, being signed in, being it."""

Action = Literal[
    "device.see",
    "device.switch",
    "device.configure",
    "device.describe",
    "device.share",
    "device.share_manage",
    "device.rotate_token",
    "device.decommission",
    "device.act_as",
    "tenant.see",
    "tenant.register_device",
    "tenant.rename",
    "tenant.see_members",
    "tenant.manage_members",
    "tenant.leave",
    "account.see",
    "account.change",
    "account.found_tenant",
    "account.join_tenant",
    "site.audit",
    "site.dead_letters",
    "site.metrics",
    "site.firmware",
    "site.admins",
]

_MEMBERS: tuple[Grant, ...] = ("owner", "operator", "viewer")
_SHARED: tuple[Grant, ...] = ("share:view", "share:switch", "share:manage")

POLICY: Mapping[Action, frozenset[Grant]] = {
    "device.see": frozenset({*_MEMBERS, *_SHARED}),
    "device.switch": frozenset({"owner", "operator", "share:switch", "share:manage"}),
    "device.configure": frozenset({"owner", "operator", "share:manage"}),
    "device.describe": frozenset({"owner", "operator", "share:manage"}),
    "device.share": frozenset({"owner"}),
    "device.share_manage": frozenset({"owner"}),
    "device.rotate_token": frozenset({"owner", "operator"}),
    "device.decommission": frozenset({"owner"}),
    "device.act_as": frozenset({"device"}),
    "tenant.see": frozenset(_MEMBERS),
    "tenant.register_device": frozenset({"owner", "operator"}),
    "tenant.rename": frozenset({"owner"}),
    "tenant.see_members": frozenset(_MEMBERS),
    "tenant.manage_members": frozenset({"owner"}),
    "tenant.leave": frozenset(_MEMBERS),
    "account.see": frozenset({"signed-in"}),
    "account.change": frozenset({"signed-in"}),
    "account.found_tenant": frozenset({"signed-in"}),
    "account.join_tenant": frozenset({"signed-in"}),
    "site.audit": frozenset({"admin"}),
    "site.dead_letters": frozenset({"admin"}),
    "site.metrics": frozenset({"admin"}),
    "site.firmware": frozenset({"admin"}),
    "site.admins": frozenset({"admin"}),
}

DEVICE_DEEDS: tuple[Action, ...] = tuple(action for action in POLICY if action.startswith("device."))

_RANK: Mapping[Scope, int] = {"read": 0, "control": 1, "manage": 2}
SCOPE_NEEDED: Mapping[Action, Scope] = {
    action: "read" if action.endswith((".see", ".see_members", ".audit", ".dead_letters", ".metrics")) else "manage"
    for action in POLICY
} | {"device.switch": "control"}
"""What an API token must be good for. Accounts themselves are changed by people only: see `SESSION_ONLY`."""

SESSION_ONLY: frozenset[Action] = frozenset({"account.change", "site.admins"})
REAUTHENTICATION: frozenset[Action] = frozenset(
    {
        "account.change",
        "device.decommission",
        "device.rotate_token",
        "device.share_manage",
        "tenant.manage_members",
        "site.firmware",
        "site.admins",
    }
)
"""Dangerous: a session must have shown its password within the last minutes."""


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Args:
        user_id: None for a device.
        scope: of an API token; None for a session, which may do all its user may.
        authenticated_at: when a session last showed its password.
        device_id: of a device with its own token.
    """

    actor: str
    user_id: str | None = None
    scope: Scope | None = None
    authenticated_at: datetime | None = None
    device_id: str | None = None

    @property
    def is_session(self) -> bool:
        return self.user_id is not None and self.scope is None


def grants_on_device(access: Access, principal: Principal, device_id: str) -> frozenset[Grant]:
    """What connects the asker with a device."""
    if principal.device_id is not None:
        return frozenset({"device"}) if principal.device_id == device_id else frozenset()
    device, user_id = access.devices.get(device_id), principal.user_id
    if device is None or user_id is None:
        return frozenset()
    role = access.tenants[device.tenant_id].members.get(user_id)
    permission = device.shares.get(user_id)
    grants: set[Grant] = set()
    if role is not None:
        grants.add(role)
    if permission is not None:
        grants.add(_SHARED[("view", "switch", "manage").index(permission)])
    return frozenset(grants)


def grants_on_tenant(access: Access, principal: Principal, tenant_id: str) -> frozenset[Grant]:
    """What connects the asker with a tenant."""
    tenant = access.tenants.get(tenant_id)
    role = None if tenant is None or principal.user_id is None else tenant.members.get(principal.user_id)
    return frozenset() if role is None else frozenset({role})


def grants_on_site(access: Access, principal: Principal) -> frozenset[Grant]:
    """What the asker is without regard to a thing."""
    if principal.user_id is None or principal.user_id not in access.users:
        return frozenset()
    return frozenset({"signed-in", "admin"} if principal.user_id in access.admins else {"signed-in"})


def permits(principal: Principal, action: Action, grants: frozenset[Grant]) -> bool:
    """Whether the table allows it, and the API token's scope if it is one."""
    if not grants & POLICY[action]:
        return False
    if principal.scope is None:
        return True
    return action not in SESSION_ONLY and _RANK[principal.scope] >= _RANK[SCOPE_NEEDED[action]]


def action_of(command: CommandType) -> Action:
    """What asking for such a command is."""
    return "device.configure" if command in ("configure", "calibrate") else "device.switch"


def deeds_on_device(access: Access, principal: Principal, device_id: str) -> list[str]:
    """What the asker may do with a device: `see`, `switch` …; for what offers only what is possible."""
    grants = grants_on_device(access, principal, device_id)
    return [action.removeprefix("device.") for action in DEVICE_DEEDS if permits(principal, action, grants)]


def require_device(access: Access, principal: Principal, action: Action, device_id: str) -> None:
    """Return if the asker may do that with the device.

    Raises:
        Missing: there is none, or the asker may not see it.
        Denied: the asker may see it, but not do that.
    """
    grants = grants_on_device(access, principal, device_id)
    if not grants & (POLICY["device.see"] | POLICY["device.act_as"]):
        raise Missing("unknown-device", f"no device {device_id!r}")
    _require(principal, action, grants)


def require_tenant(access: Access, principal: Principal, action: Action, tenant_id: str) -> None:
    """The same for a tenant."""
    grants = grants_on_tenant(access, principal, tenant_id)
    if not grants & POLICY["tenant.see"]:
        raise Missing("unknown-tenant", "no such tenant")
    _require(principal, action, grants)


def require_site(access: Access, principal: Principal, action: Action) -> None:
    """The same for what belongs to nobody in particular."""
    _require(principal, action, grants_on_site(access, principal))


def _require(principal: Principal, action: Action, grants: frozenset[Grant]) -> None:
    if permits(principal, action, grants):
        return
    if grants & POLICY[action]:
        raise Denied("scope", f"this API token's scope {principal.scope!r} is not enough for {action}")
    raise Denied("forbidden", f"your role does not allow {action}")
