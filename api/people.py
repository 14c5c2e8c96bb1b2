"""What people are called, opened for those who may know. Blocking: it asks the key store."""

from __future__ import annotations

from typing import Any

from api.time_ranges import format_instant
from domain.clock import to_ms
from domain.lifecycle.access import Access, ApiToken, KnownDevice, KnownTenant, KnownUser
from domain.lifecycle.personal import Personal, tenant_subject, user_subject


class People:
    """Opens names; what was forgotten is None."""

    def __init__(self, personal: Personal) -> None:
        self._personal = personal

    def name_of(self, user: KnownUser | None) -> str | None:
        return self._of_user(user, "name", None if user is None else user.name_sealed)

    def email_of(self, user: KnownUser | None) -> str | None:
        return self._of_user(user, "email", None if user is None else user.email_sealed)

    def tenant_name(self, tenant: KnownTenant) -> str | None:
        return self._personal.open(tenant_subject(tenant.tenant_id), "name", tenant.name_sealed)

    def device_name(self, device: KnownDevice) -> str | None:
        return self._personal.open(tenant_subject(device.tenant_id), "device-name", device.name_sealed)

    def device_location(self, device: KnownDevice) -> str | None:
        return self._personal.open(tenant_subject(device.tenant_id), "device-location", device.location_sealed)

    def token_label(self, token: ApiToken) -> str | None:
        return self._personal.open(user_subject(token.user_id), "token-label", token.label_sealed)

    def _of_user(self, user: KnownUser | None, field: str, sealed: str | None) -> str | None:
        return None if user is None else self._personal.open(user_subject(user.user_id), field, sealed)


def account_document(access: Access, people: People, user: KnownUser) -> dict[str, Any]:
    """One's own account."""
    tenants = [access.tenants[tenant_id] for tenant_id in sorted(user.tenant_ids)]
    return {
        "user_id": user.user_id,
        "name": people.name_of(user),
        "email": people.email_of(user),
        "signed_up_at": format_instant(to_ms(user.signed_up_at)),
        "admin": user.user_id in access.admins,
        "tenants": [
            {"tenant_id": one.tenant_id, "name": people.tenant_name(one), "role": one.members[user.user_id]}
            for one in tenants
        ],
    }


def tenant_document(access: Access, people: People, tenant: KnownTenant, user_id: str) -> dict[str, Any]:
    """A tenant as its member sees it, with how many devices are in use."""
    return {
        "tenant_id": tenant.tenant_id,
        "name": people.tenant_name(tenant),
        "role": tenant.members[user_id],
        "members": len(tenant.members),
        # A copy of them: others may be added while this thread counts.
        "devices": sum(access.devices[device_id].commissioned for device_id in tuple(tenant.device_ids)),
    }


def member_documents(access: Access, people: People, tenant: KnownTenant, asker_id: str) -> list[dict[str, Any]]:
    """The members of a tenant; their emails for an owner."""
    shows_emails = tenant.members[asker_id] == "owner"
    users = [(access.users.get(user_id), user_id, role) for user_id, role in sorted(tenant.members.items())]
    return [
        {
            "user_id": user_id,
            "name": people.name_of(user),
            "email": people.email_of(user) if shows_emails else None,
            "role": role,
        }
        for user, user_id, role in users
    ]


def device_document(people: People, device: KnownDevice) -> dict[str, Any]:
    """What a socket is called and where it is."""
    return {
        "device_id": device.device_id,
        "tenant_id": device.tenant_id,
        "name": people.device_name(device),
        "location": people.device_location(device),
    }


def share_documents(access: Access, people: People, device: KnownDevice) -> list[dict[str, Any]]:
    """Who else may see a socket, or more."""
    return [
        {"user_id": user_id, "name": people.name_of(access.users.get(user_id)), "permission": permission}
        for user_id, permission in sorted(device.shares.items())
    ]
