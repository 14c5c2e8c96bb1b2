"""A home or a business: its members with their roles, and invitations to become one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from domain.errors import Missing, RuleBroken
from domain.lifecycle.cause import Cause
from domain.lifecycle.entity import Entity, FirstEvent, LifecycleEvent

Role = Literal["owner", "operator", "viewer"]
MOST_INVITATIONS = 100


class Tenant(Entity):
    """Owns devices. There is always an owner, once there was a first one, until it is dissolved."""

    TOPIC = "wattaway.tenant"
    # Here and not in `__init__`: older snapshots do not have it.
    dissolved = False

    class Event(LifecycleEvent):
        """Of a tenant."""

    class Founded(Event, FirstEvent):
        TOPIC = "wattaway.tenant-founded.v1"
        name_sealed: str
        owner_id: str | None

    class Renamed(Event):
        TOPIC = "wattaway.tenant-renamed.v1"
        name_sealed: str

        def apply(self, aggregate: Any) -> None:
            aggregate.name_sealed = self.name_sealed

    class MemberAdded(Event):
        TOPIC = "wattaway.member-added.v1"
        user_id: str
        role: Role

        def apply(self, aggregate: Any) -> None:
            aggregate.members[self.user_id] = self.role

    class MemberRoleChanged(Event):
        TOPIC = "wattaway.member-role-changed.v1"
        user_id: str
        role: Role

        def apply(self, aggregate: Any) -> None:
            aggregate.members[self.user_id] = self.role

    class MemberRemoved(Event):
        TOPIC = "wattaway.member-removed.v1"
        user_id: str

        def apply(self, aggregate: Any) -> None:
            del aggregate.members[self.user_id]

    class Dissolved(Event):
        """Its last member is gone for good: nobody belongs to it any more, or ever will."""

        TOPIC = "wattaway.tenant-dissolved.v1"

        def apply(self, aggregate: Any) -> None:
            aggregate.dissolved = True
            aggregate.members = {}
            aggregate.invitations = {}

    class InvitationIssued(Event):
        TOPIC = "wattaway.invitation-issued.v1"
        invitation_id: str
        token_sha256: str
        role: Role
        expires_at: datetime

        def apply(self, aggregate: Any) -> None:
            aggregate.invitations[self.invitation_id] = [self.role, self.expires_at]

    class InvitationAccepted(Event):
        TOPIC = "wattaway.invitation-accepted.v1"
        invitation_id: str
        user_id: str
        role: Role

        def apply(self, aggregate: Any) -> None:
            del aggregate.invitations[self.invitation_id]
            aggregate.members[self.user_id] = self.role

    class InvitationRevoked(Event):
        TOPIC = "wattaway.invitation-revoked.v1"
        invitation_id: str

        def apply(self, aggregate: Any) -> None:
            del aggregate.invitations[self.invitation_id]

    def __init__(self, name_sealed: str, owner_id: str | None) -> None:
        self.name_sealed = name_sealed
        self.members: dict[str, Role] = {} if owner_id is None else {owner_id: "owner"}
        self.invitations: dict[str, list[Any]] = {}

    @classmethod
    def found(cls, tenant_id: UUID, cause: Cause, *, name_sealed: str, owner_id: str | None) -> Tenant:
        """A new tenant; without an owner only until the first one comes (the demo's)."""
        return cls.begin(cls.Founded, cause, tenant_id, name_sealed=name_sealed, owner_id=owner_id)

    def rename(self, name_sealed: str, cause: Cause) -> None:
        self.check_in_being()
        self.decide(self.Renamed, cause, name_sealed=name_sealed)

    def add_member(self, user_id: str, role: Role, cause: Cause) -> None:
        self.check_in_being()
        self._check_not_member(user_id)
        self.decide(self.MemberAdded, cause, user_id=user_id, role=role)

    def change_role(self, user_id: str, role: Role, cause: Cause) -> None:
        """Raises `Missing` if there is no such member, `RuleBroken` for the last owner."""
        before = self._role_of(user_id)
        if before == role:
            return
        self._check_owner_remains(user_id)
        self.decide(self.MemberRoleChanged, cause, user_id=user_id, role=role, before={"role": before})

    def remove_member(self, user_id: str, cause: Cause) -> None:
        """Raises `Missing` if there is no such member, `RuleBroken` for the last owner."""
        before = self._role_of(user_id)
        self._check_owner_remains(user_id)
        self.decide(self.MemberRemoved, cause, user_id=user_id, before={"role": before})

    def invite(self, invitation_id: str, token_sha256: str, cause: Cause, *, role: Role, expires_at: datetime) -> None:
        """Whoever shows the token until then becomes a member of that role, once."""
        self.check_in_being()
        open_ones = sum(expires > cause.at for _, expires in self.invitations.values())
        if open_ones >= MOST_INVITATIONS:
            raise RuleBroken("too-many-invitations", f"at most {MOST_INVITATIONS} invitations may be open")
        fields: dict[str, Any] = {"invitation_id": invitation_id, "token_sha256": token_sha256, "role": role}
        self.decide(self.InvitationIssued, cause, **fields, expires_at=expires_at)

    def accept(self, invitation_id: str, user_id: str, cause: Cause) -> None:
        """Raises `Missing` for one that was used, revoked or has expired."""
        role, expires_at = self._invitation(invitation_id)
        if expires_at <= cause.at:
            raise Missing("unknown-invitation", "this invitation has expired")
        self._check_not_member(user_id)
        self.decide(self.InvitationAccepted, cause, invitation_id=invitation_id, user_id=user_id, role=role)

    def revoke_invitation(self, invitation_id: str, cause: Cause) -> None:
        role, _ = self._invitation(invitation_id)
        self.decide(self.InvitationRevoked, cause, invitation_id=invitation_id, before={"role": role})

    def dissolve(self, user_id: str, cause: Cause) -> None:
        """End the tenant with its only member; its invitations end, too.

        Raises:
            RuleBroken: there are others (`not-alone`).
        """
        if list(self.members) != [user_id]:
            raise RuleBroken("not-alone", "this tenant has other members")
        before = {"members": self.members, "invitations": sorted(self.invitations)}
        self.decide(self.Dissolved, cause, before=before)

    def check_in_being(self) -> None:
        """Raises `Missing` if it was dissolved."""
        if self.dissolved:
            raise Missing("unknown-tenant", "this tenant was dissolved")

    def _invitation(self, invitation_id: str) -> list[Any]:
        if invitation_id not in self.invitations:
            raise Missing("unknown-invitation", "no such invitation, or it was used")
        return self.invitations[invitation_id]

    def _role_of(self, user_id: str) -> Role:
        if user_id not in self.members:
            raise Missing("unknown-member", "no such member")
        return self.members[user_id]

    def _check_not_member(self, user_id: str) -> None:
        if user_id in self.members:
            raise RuleBroken("already-member", "this user is a member already")

    def _check_owner_remains(self, user_id: str) -> None:
        owners = [member for member, role in self.members.items() if role == "owner"]
        if owners == [user_id]:
            raise RuleBroken("last-owner", "a tenant keeps at least one owner; make somebody else an owner first")
