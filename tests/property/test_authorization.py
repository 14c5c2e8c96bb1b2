"""Whatever is decided in whatever order, the policy answers as a naive model that keeps plain sets."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from domain.errors import Denied, Missing, RuleBroken
from domain.lifecycle.access import Access
from domain.lifecycle.devices import Device
from domain.lifecycle.policy import Action, Principal, require_device, require_site, require_tenant
from domain.lifecycle.site import Site
from domain.lifecycle.tenants import Role, Tenant
from domain.lifecycle.tokens import TokenHashes
from domain.lifecycle.users import User
from tests.unit.lifecycle_parts import cause

ROLES, PERMISSIONS = ("owner", "operator", "viewer"), ("view", "switch", "manage")
# Spelt out once more, not taken from the table that is tested.
DEVICE_ACTIONS: dict[Action, tuple[set[str], set[str]]] = {
    "device.see": ({"owner", "operator", "viewer"}, {"view", "switch", "manage"}),
    "device.switch": ({"owner", "operator"}, {"switch", "manage"}),
    "device.configure": ({"owner", "operator"}, {"manage"}),
    "device.describe": ({"owner", "operator"}, {"manage"}),
    "device.rotate_token": ({"owner", "operator"}, set()),
    "device.share": ({"owner"}, set()),
    "device.decommission": ({"owner"}, set()),
}
TENANT_ACTIONS: dict[Action, set[str]] = {
    "tenant.see": {"owner", "operator", "viewer"},
    "tenant.leave": {"owner", "operator", "viewer"},
    "tenant.register_device": {"owner", "operator"},
    "tenant.rename": {"owner"},
    "tenant.manage_members": {"owner"},
}


class Authorization(RuleBasedStateMachine):
    """Real aggregates decide, their events feed the access directory; the model is told what was asked."""

    users, tenants, devices = Bundle("users"), Bundle("tenants"), Bundle("devices")

    def __init__(self) -> None:
        super().__init__()
        self.access = Access()
        self.real: dict[str, Any] = {}
        self.site: Site | None = None
        self.roles: dict[tuple[str, str], str] = {}
        self.shares: dict[tuple[str, str], str] = {}
        self.owned: dict[str, str] = {}
        self.admins: set[str] = set()
        self.known: set[str] = set()

    def _carry(self, *aggregates: Any) -> None:
        for aggregate in aggregates:
            for event in aggregate.collect_events():
                self.access.apply(event)

    @rule(target=users)
    def sign_up(self) -> str:
        user = User.sign_up(uuid4(), cause(), email="e", name="n", password="p")
        user_id = str(user.id)
        self.real[user_id] = user
        self.known.add(user_id)
        self._carry(user)
        if self.site is None:
            self.site = Site.claim(user_id, cause())
            self.admins.add(user_id)
            self._carry(self.site)
        return user_id

    @rule(target=tenants, owner=users)
    def found(self, owner: str) -> Any:
        if owner not in self.known:
            return multiple()
        tenant = Tenant.found(uuid4(), cause(), name_sealed="n", owner_id=owner)
        self.real[str(tenant.id)] = tenant
        self.roles[(str(tenant.id), owner)] = "owner"
        self._carry(tenant)
        return str(tenant.id)

    @rule(target=devices, tenant=tenants)
    def register(self, tenant: str) -> str:
        device_id = f"d{len(self.owned)}"
        hashes = TokenHashes(device_id, "hash")
        device = Device.register(device_id, tenant, hashes, cause(), name_sealed="n")
        self.real[device_id], self.owned[device_id] = device, tenant
        self._carry(device)
        return device_id

    @rule(tenant=tenants, user=users, role=st.sampled_from(ROLES))
    def add_or_change(self, tenant: str, user: str, role: Role) -> None:
        if user not in self.known:
            return
        real: Tenant = self.real[tenant]
        try:
            if (tenant, user) in self.roles:
                real.change_role(user, role, cause())
            else:
                real.add_member(user, role, cause())
            self.roles[(tenant, user)] = role
        except RuleBroken:
            assert self._is_last_owner(tenant, user)
        self._carry(real)

    @rule(tenant=tenants, user=users)
    def remove(self, tenant: str, user: str) -> None:
        real: Tenant = self.real[tenant]
        if user in self.known:
            try:
                real.remove_member(user, cause())
                del self.roles[(tenant, user)]
            except Missing:
                assert (tenant, user) not in self.roles
            except RuleBroken:
                assert self._is_last_owner(tenant, user)
            self._carry(real)

    def _is_last_owner(self, tenant: str, user: str) -> bool:
        """The aggregate counts a forgotten owner too; then it may only be more lenient, never leave nobody."""
        owners = {one for (of, one), role in self.roles.items() if of == tenant and role == "owner"}
        return owners == {user}

    @rule(device=devices, user=users, permission=st.sampled_from(PERMISSIONS))
    def share(self, device: str, user: str, permission: Any) -> None:
        if user in self.known and self.real[device].commissioned:
            self.real[device].share(user, permission, cause())
            self.shares[(device, user)] = permission
            self._carry(self.real[device])

    @rule(device=devices, user=users)
    def unshare(self, device: str, user: str) -> None:
        if (device, user) in self.shares:
            self.real[device].unshare(user, cause())
            del self.shares[(device, user)]
            self._carry(self.real[device])

    @rule(device=devices)
    def decommission_or_use_again(self, device: str) -> None:
        real: Device = self.real[device]
        if real.commissioned:
            real.decommission(cause())
            self.shares = {key: value for key, value in self.shares.items() if key[0] != device}
        else:
            real.use_again(TokenHashes(f"{device}-again", "hash"), cause())
        self._carry(real)

    @rule(user=users)
    def make_admin(self, user: str) -> None:
        if self.site is not None and user in self.known and user not in self.admins:
            self.site.grant_admin(user, cause())
            self.admins.add(user)
            self._carry(self.site)

    @rule(user=consumes(users))
    def forget(self, user: str) -> None:
        """As a departure does it: whoever is needed stays."""
        mine = {tenant for tenant, one in self.roles if one == user}
        if user not in self.known or self.admins == {user} or any(self._is_last_owner(one, user) for one in mine):
            return
        for tenant in mine:
            self.real[tenant].remove_member(user, cause())
            self._carry(self.real[tenant])
        if user in self.admins and self.site is not None:
            self.site.revoke_admin(user, cause())
            self._carry(self.site)
        self.real[user].forget(cause())
        self._carry(self.real[user])
        self.known.discard(user)
        self.admins.discard(user)
        self.roles = {key: value for key, value in self.roles.items() if key[1] != user}
        self.shares = {key: value for key, value in self.shares.items() if key[1] != user}

    @invariant()
    def the_policy_answers_as_the_model(self) -> None:
        for user in [one for one in self.real if isinstance(self.real[one], User)]:
            asker = Principal(f"user:{user}", user)
            seen = set()
            for device, tenant in self.owned.items():
                role, permission = self.roles.get((tenant, user)), self.shares.get((device, user))
                for action, (roles, permissions) in DEVICE_ACTIONS.items():
                    allowed = role in roles or permission in permissions
                    hidden = role is None and permission is None
                    assert _answer(require_device, self.access, asker, action, device) == _expected(allowed, hidden)
                seen |= {device} if (role or permission) and self.real[device].commissioned else set()
            assert self.access.device_ids_of(user) == sorted(seen)
            for tenant in {one for one in self.real if isinstance(self.real[one], Tenant)}:
                role = self.roles.get((tenant, user))
                for action, allowed_roles in TENANT_ACTIONS.items():
                    expected = _expected(role in allowed_roles, role is None)
                    assert _answer(require_tenant, self.access, asker, action, tenant) == expected
            assert _answer(require_site, self.access, asker, "site.audit") == _expected(user in self.admins, False)
            assert _answer(require_site, self.access, asker, "account.see") == _expected(user in self.known, False)


def _answer(require: Any, *arguments: Any) -> str:
    try:
        require(*arguments)
    except Missing:
        return "hidden"
    except Denied:
        return "denied"
    return "allowed"


def _expected(allowed: bool, hidden: bool) -> str:
    return "allowed" if allowed else "hidden" if hidden else "denied"


TestAuthorization = Authorization.TestCase
TestAuthorization.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
