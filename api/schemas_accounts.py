"""One's own account, tenants and the site's admins: what is sent, and the answers as OpenAPI describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from api.inputs import Email, Input, Instant, Name, Password
from api.schemas import Answer
from domain.lifecycle.tenants import Role
from domain.lifecycle.users import Scope

Item = TypeVar("Item")


class Items(Answer, Generic[Item]):
    """All there are."""

    items: list[Item]


# --- one's own account ------------------------------------------------------------------------------------


class Membership(Answer):
    """A tenant that one belongs to."""

    tenant_id: str
    name: str | None
    role: Role


class Account(Answer):
    """One's own account."""

    user_id: str
    name: str | None
    email: str | None
    signed_up_at: datetime
    admin: bool = Field(description="Whether one is an admin of the site.")
    tenants: list[Membership]


class AccountChange(Input):
    """What is absent or null stays as it is."""

    name: Name | None = None
    email: Email | None = None


class NewPassword(Input):
    """The password from now on."""

    password: Password


class NewApiToken(Input):
    """A token for a program, good for a year at most."""

    label: Name
    scope: Scope
    expires_at: Instant


class ApiToken(Answer):
    """A token by which a program acts for its user."""

    token_id: str
    label: str | None
    scope: Scope
    issued_at: datetime
    expires_at: datetime


class IssuedApiToken(ApiToken):
    """The same with the token itself, shown this once."""

    token: str = Field(examples=["wat_…"])


# --- tenants ----------------------------------------------------------------------------------------------


class TenantName(Input):
    """What a tenant is called."""

    name: Name


class Tenant(Answer):
    """A tenant as its member sees it."""

    tenant_id: str
    name: str | None
    role: Role = Field(description="One's own.")
    members: int
    devices: int


class Member(Answer):
    """A member of a tenant; emails are shown to owners only."""

    user_id: str
    name: str | None
    email: str | None
    role: Role


class RoleChange(Input):
    """The role from now on, or that of an invitation."""

    role: Role


class Invitation(Answer):
    """An invitation that nobody has used yet."""

    invitation_id: str
    role: Role
    issued_at: datetime
    expires_at: datetime


class IssuedInvitation(Invitation):
    """The same with the token itself, shown this once: whoever has it may join."""

    token: str = Field(examples=["wai_…"])


class InvitationToken(Input):
    """The token that came with an invitation."""

    token: Annotated[str, Field(pattern="^wai_[0-9a-f]{64}$")]


class Joined(Answer):
    """The tenant that one belongs to now."""

    tenant_id: str
    role: Role


# --- the site ---------------------------------------------------------------------------------------------


class Admin(Answer):
    """An admin of the site."""

    user_id: str
    name: str | None
    email: str | None
