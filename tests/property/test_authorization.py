"""Whatever is decided in whatever order, the policy answers as a naive model that keeps plain sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from eventsourcing.persistence import RecordConflictError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from domain.errors import Denied, Missing, RuleBroken
from domain.lifecycle.access import Access
from domain.lifecycle.departure import Departure
from domain.lifecycle.policy import Action, Principal, require_device, require_site, require_tenant
from domain.lifecycle.site import SITE_ID, Site
from domain.lifecycle.sockets import NewDevice
from domain.lifecycle.tenants import Role, Tenant
from domain.lifecycle.users import Scope
from tests.unit.lifecycle_parts import Parts, cause

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
SCOPES: dict[Scope, set[Action]] = {
    "read": {"device.see"},
    "control": {"device.see", "device.switch"},
    "manage": set(DEVICE_ACTIONS),
}


class Authorization(RuleBasedStateMachine):
    """The real services decide, the log feeds the access directory; the model is told what was asked."""

    users, tenants, devices, invitations = (Bundle(name) for name in ("users", "tenants", "devices", "invitations"))

    def __init__(self) -> None:
        super().__init__()
        self.parts, self.access, self.position = Parts(), Access(), 0
        self.users_ever: list[str] = []
        self.known: set[str] = set()
        self.admins: set[str] = set()
        self.roles: dict[tuple[str, str], str] = {}
        self.shares: dict[tuple[str, str], str] = {}
        self.owned: dict[str, str] = {}
        self.in_use: set[str] = set()
        self.open: dict[str, tuple[str, str]] = {}
        self.dissolved: dict[str, bool] = {}
        self.planned: Departure | None = None

    def _members(self, tenant: str) -> dict[str, str]:
        return {user: role for (of, user), role in self.roles.items() if of == tenant}

    def _is_last_owner(self, tenant: str, user: str) -> bool:
        return [one for one, role in self._members(tenant).items() if role == "owner"] == [user]

    def _decide(self, decide: Callable[[], object], refusal: type[Exception] | None) -> bool:
        """Let it be decided, or refused if the model says so; whether it was decided."""
        try:
            decide()
        except (Missing, RuleBroken) as error:
            assert type(error) is refusal
            return False
        assert refusal is None
        return True

    # --- people -----------------------------------------------------------------------------------------

    @rule(target=users)
    def sign_up(self) -> str:
        email = f"{len(self.users_ever)}@x.org"
        new = self.parts.accounts.sign_up(cause(), email=email, name="n", password="p" * 10, tenant_name=None)
        self.admins |= set() if self.users_ever else {new.user_id}
        self.users_ever.append(new.user_id)
        self.known.add(new.user_id)
        return new.user_id

    @rule(user=users)
    def make_admin(self, user: str) -> None:
        refusal = Missing if user not in self.known else RuleBroken if user in self.admins else None
        if self._decide(lambda: self.parts.accounts.grant_admin(user, cause()), refusal):
            self.admins.add(user)

    @rule(user=users)
    def plan_to_forget(self, user: str) -> None:
        if user not in self.known:
            return
        mine = [tenant for tenant, one in self.roles if one == user]
        needed = [tenant for tenant in mine if self._is_last_owner(tenant, user) and len(self._members(tenant)) > 1]
        refusal = RuleBroken if self.admins == {user} or needed else None
        self._decide(lambda: setattr(self, "planned", self.parts.plan_departure(user)), refusal)

    @rule(user=users)
    def forget_at_once(self, user: str) -> None:
        self.planned = None
        self.plan_to_forget(user)
        if self.planned is not None:
            self.forget_as_planned()
            assert user not in self.known

    @precondition(lambda self: self.planned)
    @rule()
    def forget_as_planned(self) -> None:
        """Whatever was decided since the plan: it is all done as it is right now, or nothing is."""
        departure, self.planned = self.planned, None
        assert departure is not None
        try:
            self.parts.carry_out(departure)
        except (Missing, RuleBroken, RecordConflictError):
            return
        user = departure.user_id
        for tenant in [one for one, member in self.roles if member == user and len(self._members(one)) == 1]:
            self.dissolved[tenant] = True
            self.open = {key: invited for key, invited in self.open.items() if invited[0] != tenant}
            for device in [one for one, of in self.owned.items() if of == tenant]:
                self._take_out_of_use(device)
        self.known.discard(user)
        self.admins.discard(user)
        self.roles = {key: value for key, value in self.roles.items() if key[1] != user}
        self.shares = {key: value for key, value in self.shares.items() if key[1] != user}

    # --- tenants ----------------------------------------------------------------------------------------

    @rule(target=tenants, owner=users)
    def found(self, owner: str) -> Any:
        if owner not in self.known:
            return multiple()
        tenant, _ = self.parts.tenancy.found(cause(), name="n", owner_id=owner)
        self.roles[tenant, owner], self.dissolved[tenant] = "owner", False
        return tenant

    @rule(tenant=tenants, user=users, role=st.sampled_from(ROLES))
    def add_or_change(self, tenant: str, user: str, role: Role) -> None:
        tenancy = self.parts.tenancy
        if (tenant, user) in self.roles:
            refusal = RuleBroken if role != "owner" and self._is_last_owner(tenant, user) else None
            done = self._decide(lambda: tenancy.change_role(tenant, user, role, cause()), refusal)
        else:
            gone = user not in self.known or self.dissolved[tenant]
            done = self._decide(lambda: tenancy.add_member(tenant, user, role, cause()), Missing if gone else None)
        if done:
            self.roles[tenant, user] = role

    @rule(tenant=tenants, user=users)
    def remove(self, tenant: str, user: str) -> None:
        refusal = Missing if (tenant, user) not in self.roles else None
        refusal = RuleBroken if self._is_last_owner(tenant, user) else refusal
        if self._decide(lambda: self.parts.tenancy.remove_member(tenant, user, cause()), refusal):
            del self.roles[tenant, user]

    @rule(target=invitations, tenant=tenants, role=st.sampled_from(ROLES))
    def invite(self, tenant: str, role: Role) -> Any:
        if self.dissolved[tenant]:
            self._decide(lambda: self.parts.tenancy.invite(tenant, role, cause()), Missing)
            return multiple()
        invitation_id = self.parts.tenancy.invite(tenant, role, cause()).invitation_id
        self.open[invitation_id] = (tenant, role)
        return (tenant, invitation_id)

    @rule(invitation=invitations, user=users)
    def accept(self, invitation: tuple[str, str], user: str) -> None:
        tenant, invitation_id = invitation
        gone = user not in self.known or invitation_id not in self.open
        refusal = Missing if gone else RuleBroken if (tenant, user) in self.roles else None
        if self._decide(lambda: self.parts.tenancy.accept(tenant, invitation_id, user, cause()), refusal):
            self.roles[tenant, user] = self.open.pop(invitation_id)[1]

    @rule(invitation=invitations)
    def take_back(self, invitation: tuple[str, str]) -> None:
        tenant, invitation_id = invitation
        refusal = None if invitation_id in self.open else Missing
        self._decide(lambda: self.parts.tenancy.revoke_invitation(tenant, invitation_id, cause()), refusal)
        self.open.pop(invitation_id, None)

    # --- sockets ----------------------------------------------------------------------------------------

    def _take_out_of_use(self, device: str) -> None:
        self.in_use.discard(device)
        self.shares = {key: value for key, value in self.shares.items() if key[0] != device}

    @rule(target=devices, tenant=tenants)
    def register(self, tenant: str) -> Any:
        device = f"d{len(self.owned)}"
        if not self._register(tenant, device):
            return multiple()
        self.owned[device] = tenant
        return device

    def _register(self, tenant: str, device: str) -> bool:
        refusal = Missing if self.dissolved[tenant] else None
        done = self._decide(lambda: self.parts.sockets.register(tenant, [NewDevice(device, "n")], cause()), refusal)
        self.in_use |= {device} if done else set()
        return done

    @rule(device=devices)
    def decommission_or_use_again(self, device: str) -> None:
        if device not in self.in_use:
            self._register(self.owned[device], device)
            return
        self.parts.sockets.decommission(device, cause())
        self._take_out_of_use(device)

    @rule(device=devices, user=users, permission=st.sampled_from(PERMISSIONS))
    def share(self, device: str, user: str, permission: Any) -> None:
        if user in self.known:
            refusal = None if device in self.in_use else RuleBroken
            if self._decide(lambda: self.parts.sockets.share(device, user, permission, cause()), refusal):
                self.shares[device, user] = permission

    @rule(device=devices, user=users)
    def unshare(self, device: str, user: str) -> None:
        if user in self.known:
            refusal = None if (device, user) in self.shares else Missing
            self._decide(lambda: self.parts.sockets.unshare(device, user, cause()), refusal)
            self.shares.pop((device, user), None)

    # --- what must hold ---------------------------------------------------------------------------------

    def _follow(self) -> None:
        for one in self.parts.lifecycle.log_recorder.select_notifications(self.position + 1, 10_000):
            self.access.apply(self.parts.lifecycle.mapper.to_domain_event(one))
            self.position = one.id

    @invariant()
    def the_aggregates_count_nobody_who_is_gone(self) -> None:
        for tenant, is_dissolved in self.dissolved.items():
            members = self.parts.lifecycle.load(Tenant, UUID(tenant)).members
            assert members == self._members(tenant)
            assert is_dissolved or "owner" in members.values()
        if self.users_ever:
            assert set(self.parts.lifecycle.load(Site, SITE_ID).admins) == self.admins

    @invariant()
    def the_policy_answers_as_the_model(self) -> None:
        self._follow()
        for user in self.users_ever:
            self._check_devices_of(user)
            asker = Principal(f"user:{user}", user)
            for tenant in self.dissolved:
                role = self.roles.get((tenant, user))
                for action, allowed_roles in TENANT_ACTIONS.items():
                    expected = _expected(role in allowed_roles, role is None)
                    assert _answer(require_tenant, self.access, asker, action, tenant) == expected
            assert _answer(require_site, self.access, asker, "site.audit") == _expected(user in self.admins, False)
            assert _answer(require_site, self.access, asker, "account.see") == _expected(user in self.known, False)

    def _check_devices_of(self, user: str) -> None:
        askers = [Principal(f"user:{user}", user), *(Principal("token", user, scope=scope) for scope in SCOPES)]
        seen = set()
        for device, tenant in self.owned.items():
            role, permission = self.roles.get((tenant, user)), self.shares.get((device, user))
            hidden = role is None and permission is None
            for action, (roles, permissions) in DEVICE_ACTIONS.items():
                allowed = role in roles or permission in permissions
                for asker in askers:
                    enough = asker.scope is None or action in SCOPES[asker.scope]
                    expected = _expected(allowed and enough, hidden)
                    assert _answer(require_device, self.access, asker, action, device) == expected
            seen |= {device} if not hidden and device in self.in_use else set()
        assert self.access.device_ids_of(user) == sorted(seen)


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
TestAuthorization.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
