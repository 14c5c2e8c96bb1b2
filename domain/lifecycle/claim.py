"""Setting an installation up: the first user becomes the site's admin, and owner of all tenants without members."""

from __future__ import annotations

from dataclasses import dataclass, field

from domain.lifecycle.access import Access
from domain.lifecycle.accounts import Accounts
from domain.lifecycle.cause import Cause
from domain.lifecycle.tenancy import Tenancy
from domain.lifecycle.tenants import Tenant


@dataclass(frozen=True)
class FirstUser:
    """Who sets the installation up; `tenant_name` None: what ownerless tenants there are is enough."""

    email: str
    name: str
    password: str = field(repr=False)
    tenant_name: str | None = None


def own_tenant_name(name: str) -> str:
    """What the tenant of a user of this name is called if nobody says."""
    return f"{name}'s home"


def ownerless_tenants(access: Access) -> list[str]:
    """Those that wait for the first user: the demo's."""
    return [tenant.tenant_id for tenant in access.tenants.values() if not (tenant.members or tenant.dissolved)]


def claim(accounts: Accounts, tenancy: Tenancy, ownerless: list[str], user: FirstUser, cause: Cause) -> str:
    """The id of the first user, who is signed up now and owns these tenants, in one commit. Blocking.

    Raises:
        As `Accounts.sign_up`: `already-set-up`, too.
    """

    def take_over(user_id: str) -> list[Tenant]:
        return [tenancy.admitted(tenant_id, user_id, "owner", cause) for tenant_id in ownerless]

    name = user.tenant_name if user.tenant_name is not None or ownerless else own_tenant_name(user.name)
    made = accounts.sign_up(
        cause,
        email=user.email,
        name=user.name,
        password=user.password,
        tenant_name=name,
        joining=take_over,
        must_be_first=True,
    )
    return made.user_id
