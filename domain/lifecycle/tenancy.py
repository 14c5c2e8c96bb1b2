"""What owners do with their tenants: found, rename, invite, change roles, remove."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from domain.lifecycle.cause import Cause
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.personal import Personal, tenant_subject
from domain.lifecycle.tenants import Role, Tenant
from domain.lifecycle.tokens import INVITATION_PREFIX, new_token, token_sha256

INVITATION_LIFE = timedelta(days=7)


class IssuedInvitation(NamedTuple):
    """An invitation, its token in clear for the only time."""

    token: str
    invitation_id: str


def new_tenant(
    personal: Personal, cause: Cause, *, name: str, owner_id: str | None, tenant_id: UUID | None = None
) -> Tenant:
    """A tenant that is not stored yet, its name sealed with a key of its own."""
    tenant_id = tenant_id or uuid4()
    subject = tenant_subject(str(tenant_id))
    personal.begin(subject)
    return Tenant.found(tenant_id, cause, name_sealed=personal.seal(subject, "name", name), owner_id=owner_id)


class Tenancy:
    """Blocking. Who may do it is checked before, by the policy."""

    def __init__(self, lifecycle: Lifecycle, personal: Personal) -> None:
        self._lifecycle, self._personal = lifecycle, personal

    def found(self, cause: Cause, *, name: str, owner_id: str | None, tenant_id: UUID | None = None) -> tuple[str, int]:
        """A new tenant's id; without an owner only until the first user comes.

        Raises:
            RecordConflictError: there is one of the given id.
        """
        tenant = new_tenant(self._personal, cause, name=name, owner_id=owner_id, tenant_id=tenant_id)
        return str(tenant.id), self._lifecycle.store(tenant)

    def rename(self, tenant_id: str, name: str, cause: Cause) -> int:
        sealed = self._personal.seal(tenant_subject(tenant_id), "name", name)
        return self._change(tenant_id, lambda tenant: tenant.rename(sealed, cause))

    def add_member(self, tenant_id: str, user_id: str, role: Role, cause: Cause) -> int:
        return self._change(tenant_id, lambda tenant: tenant.add_member(user_id, role, cause), about=user_id)

    def change_role(self, tenant_id: str, user_id: str, role: Role, cause: Cause) -> int:
        return self._change(tenant_id, lambda tenant: tenant.change_role(user_id, role, cause))

    def remove_member(self, tenant_id: str, user_id: str, cause: Cause) -> int:
        return self._change(tenant_id, lambda tenant: tenant.remove_member(user_id, cause))

    def invite(self, tenant_id: str, role: Role, cause: Cause) -> IssuedInvitation:
        """An invitation for whoever is given its token, for seven days."""
        token, invitation_id = new_token(INVITATION_PREFIX), str(uuid4())
        digest, expires_at = token_sha256(token), cause.at + INVITATION_LIFE
        self._change(
            tenant_id, lambda tenant: tenant.invite(invitation_id, digest, cause, role=role, expires_at=expires_at)
        )
        return IssuedInvitation(token, invitation_id)

    def admitted(self, tenant_id: str, user_id: str, role: Role, cause: Cause) -> Tenant:
        """The tenant with this member, not stored yet."""
        tenant = self._lifecycle.load(Tenant, UUID(tenant_id))
        tenant.add_member(user_id, role, cause)
        return tenant

    def accepted(self, tenant_id: str, invitation_id: str, user_id: str, cause: Cause) -> Tenant:
        """The tenant with whoever was invited, not stored yet."""
        tenant = self._lifecycle.load(Tenant, UUID(tenant_id))
        tenant.accept(invitation_id, user_id, cause)
        return tenant

    def accept(self, tenant_id: str, invitation_id: str, user_id: str, cause: Cause) -> int:
        return self._change(tenant_id, lambda tenant: tenant.accept(invitation_id, user_id, cause), about=user_id)

    def revoke_invitation(self, tenant_id: str, invitation_id: str, cause: Cause) -> int:
        return self._change(tenant_id, lambda tenant: tenant.revoke_invitation(invitation_id, cause))

    def _change(self, tenant_id: str, decide: Callable[[Tenant], None], *, about: str | None = None) -> int:
        return self._lifecycle.change(Tenant, UUID(tenant_id), decide, about=about)[1]
