"""Who is there and who has what: a fold of lifecycle events, held in memory by whoever must decide quickly.

It does not go through Kafka, so that a right taken away is gone at once, whatever else is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from domain.lifecycle.devices import Device, Permission
from domain.lifecycle.site import Site
from domain.lifecycle.tenants import Role, Tenant
from domain.lifecycle.users import Scope, User


@dataclass(slots=True)
class ApiToken:
    """A program's token, by which it acts for a user."""

    user_id: str
    token_id: str
    label_sealed: str
    scope: Scope
    issued_at: datetime
    expires_at: datetime


@dataclass(slots=True)
class KnownUser:
    """A user who is not forgotten."""

    user_id: str
    name_sealed: str
    email_sealed: str
    password_sealed: str
    signed_up_at: datetime
    tenant_ids: set[str] = field(default_factory=set)
    shared_device_ids: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)
    """API token id → its hash."""


@dataclass(slots=True)
class Invitation:
    """An invitation that nobody has used yet."""

    tenant_id: str
    invitation_id: str
    role: Role
    issued_at: datetime
    expires_at: datetime


@dataclass(slots=True)
class KnownTenant:
    """A tenant with its members, devices and open invitations."""

    tenant_id: str
    name_sealed: str
    members: dict[str, Role] = field(default_factory=dict)
    device_ids: set[str] = field(default_factory=set)
    invitations: dict[str, str] = field(default_factory=dict)
    """Invitation id → its token's hash."""
    dissolved: bool = False


@dataclass(slots=True)
class KnownDevice:
    """A registered device; decommissioned ones stay, for their history."""

    device_id: str
    tenant_id: str
    name_sealed: str
    token_sha256: str
    broker_hash: str
    location_sealed: str | None = None
    commissioned: bool = True
    config_version: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    shares: dict[str, Permission] = field(default_factory=dict)


class Access:
    """The state after the events so far; feed it every lifecycle event in the order of the log."""

    def __init__(self) -> None:
        self.users: dict[str, KnownUser] = {}
        self.tenants: dict[str, KnownTenant] = {}
        self.devices: dict[str, KnownDevice] = {}
        self.admins: set[str] = set()
        self.api_tokens: dict[str, ApiToken] = {}
        """By the token's hash."""
        self.revoked_tokens: dict[str, ApiToken] = {}
        """By the token's hash; whoever still shows one is no stranger."""
        self.invitations: dict[str, Invitation] = {}
        """By the token's hash."""
        self.device_tokens: dict[str, str] = {}
        """Hash of a token → the device in use that shows it."""
        self.revision = 0
        """Grows with every event that may change what somebody may see or do."""

    @property
    def claimed(self) -> bool:
        """Whether somebody has set this installation up."""
        return bool(self.admins)

    def device_ids_of(self, user_id: str) -> list[str]:
        """The devices in use that this user may see, in order."""
        user = self.users.get(user_id)
        if user is None:
            return []
        seen = set(user.shared_device_ids)
        for tenant_id in user.tenant_ids:
            seen |= self.tenants[tenant_id].device_ids
        return sorted(device_id for device_id in seen if self.devices[device_id].commissioned)

    def apply(self, event: Any) -> None:
        """Take the next event of the log; those of commands and denials change nothing here."""
        match event:
            case User.Event():
                self._apply_user(event)
            case Tenant.Event():
                self._apply_tenant(event)
            case Device.Event():
                self._apply_device(event)
            case Site.Claimed() | Site.AdminGranted():
                # Claimed in one commit with the sign-up of its first admin, which comes first.
                self.admins |= {event.user_id} & self.users.keys()
            case Site.AdminRevoked():
                self.admins.discard(event.user_id)
            case _:
                return
        self.revision += 1

    # --- users ------------------------------------------------------------------------------------------

    def _apply_user(self, event: User.Event) -> None:
        user_id = str(event.originator_id)
        if isinstance(event, User.SignedUp):
            sealed = (event.name_sealed, event.email_sealed, event.password_sealed)
            self.users[user_id] = KnownUser(user_id, *sealed, signed_up_at=event.timestamp)
            return
        user = self.users.get(user_id)
        if user is None:
            return
        match event:
            case User.Renamed():
                user.name_sealed = event.name_sealed
            case User.EmailChanged():
                user.email_sealed = event.email_sealed
            case User.PasswordChanged():
                user.password_sealed = event.password_sealed
            case User.ApiTokenIssued():
                self._issue_token(user, event)
            case User.ApiTokenRevoked():
                self._revoke_token(user, event.token_id)
            case User.Forgotten():
                self._forget(user)

    def _issue_token(self, user: KnownUser, event: User.ApiTokenIssued) -> None:
        user.tokens[event.token_id] = event.token_sha256
        self.api_tokens[event.token_sha256] = ApiToken(
            user.user_id, event.token_id, event.label_sealed, event.scope, event.timestamp, event.expires_at
        )

    def _revoke_token(self, user: KnownUser, token_id: str) -> None:
        token_hash = user.tokens.pop(token_id, "")
        token = self.api_tokens.pop(token_hash, None)
        if token is not None:
            self.revoked_tokens[token_hash] = token

    def _forget(self, user: KnownUser) -> None:
        self.revoked_tokens = {key: one for key, one in self.revoked_tokens.items() if one.user_id != user.user_id}
        for token_hash in user.tokens.values():
            self.api_tokens.pop(token_hash, None)
        for device_id in user.shared_device_ids:
            self.devices[device_id].shares.pop(user.user_id, None)
        for tenant_id in user.tenant_ids:
            tenant = self.tenants[tenant_id]
            tenant.members.pop(user.user_id, None)
            if not tenant.members:
                # Earlier versions said nothing when they dissolved a tenant.
                self._dissolve(tenant)
        self.admins.discard(user.user_id)
        del self.users[user.user_id]

    # --- tenants ----------------------------------------------------------------------------------------

    def _apply_tenant(self, event: Tenant.Event) -> None:
        tenant_id = str(event.originator_id)
        if isinstance(event, Tenant.Founded):
            self.tenants[tenant_id] = KnownTenant(tenant_id, event.name_sealed)
            if event.owner_id is not None:
                self._join(tenant_id, event.owner_id, "owner")
            return
        tenant = self.tenants[tenant_id]
        match event:
            case Tenant.Renamed():
                tenant.name_sealed = event.name_sealed
            case Tenant.MemberAdded() | Tenant.MemberRoleChanged():
                self._join(tenant_id, event.user_id, event.role)
            case Tenant.MemberRemoved():
                self._leave(tenant, event.user_id)
            case Tenant.Dissolved():
                self._dissolve(tenant)
            case Tenant.InvitationIssued():
                self._invite(tenant, event)
            case Tenant.InvitationAccepted():
                self.invitations.pop(tenant.invitations.pop(event.invitation_id, ""), None)
                self._join(tenant_id, event.user_id, event.role)
            case Tenant.InvitationRevoked():
                self.invitations.pop(tenant.invitations.pop(event.invitation_id, ""), None)

    def _join(self, tenant_id: str, user_id: str, role: Role) -> None:
        if user_id in self.users:
            self.tenants[tenant_id].members[user_id] = role
            self.users[user_id].tenant_ids.add(tenant_id)

    def _leave(self, tenant: KnownTenant, user_id: str) -> None:
        tenant.members.pop(user_id, None)
        if user_id in self.users:
            self.users[user_id].tenant_ids.discard(tenant.tenant_id)

    def _dissolve(self, tenant: KnownTenant) -> None:
        tenant.dissolved = True
        for user_id in list(tenant.members):
            self._leave(tenant, user_id)
        for token_hash in tenant.invitations.values():
            self.invitations.pop(token_hash, None)
        tenant.invitations.clear()

    def _invite(self, tenant: KnownTenant, event: Tenant.InvitationIssued) -> None:
        tenant.invitations[event.invitation_id] = event.token_sha256
        self.invitations[event.token_sha256] = Invitation(
            tenant.tenant_id, event.invitation_id, event.role, event.timestamp, event.expires_at
        )

    # --- devices ----------------------------------------------------------------------------------------

    def _apply_device(self, event: Device.Event) -> None:
        if isinstance(event, Device.Registered):
            hashes = (event.token_sha256, event.broker_hash)
            known = KnownDevice(event.device_id, event.tenant_id, event.name_sealed, *hashes)
            self.devices[event.device_id] = known
            self.tenants[event.tenant_id].device_ids.add(event.device_id)
            self.device_tokens[event.token_sha256] = event.device_id
            return
        device = self.devices[event.device_id]
        match event:
            case Device.Described():
                device.name_sealed, device.location_sealed = event.name_sealed, event.location_sealed
            case Device.Configured():
                device.config_version, device.config = event.config_version, msgspec.to_builtins(event.config)
            case Device.TokenRotated():
                self.device_tokens.pop(device.token_sha256, None)
                self.device_tokens[event.token_sha256] = event.device_id
                device.token_sha256, device.broker_hash = event.token_sha256, event.broker_hash
                device.commissioned = True
            case Device.Shared():
                self._share(device, event)
            case Device.Unshared():
                self._unshare(device, event.user_id)
            case Device.Decommissioned():
                self.device_tokens.pop(device.token_sha256, None)
                device.commissioned = False
                for user_id in list(device.shares):
                    self._unshare(device, user_id)

    def _share(self, device: KnownDevice, event: Device.Shared) -> None:
        if event.user_id in self.users:
            device.shares[event.user_id] = event.permission
            self.users[event.user_id].shared_device_ids.add(device.device_id)

    def _unshare(self, device: KnownDevice, user_id: str) -> None:
        device.shares.pop(user_id, None)
        if user_id in self.users:
            self.users[user_id].shared_device_ids.discard(device.device_id)
