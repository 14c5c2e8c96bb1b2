"""Every route of the API with what it asks the policy: the rows that test_policy.py walks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from domain.lifecycle.policy import Action

Thing = Literal["site", "own", "device", "tenant", "left tenant"]


@dataclass(frozen=True)
class Route:
    """What a route asks the policy: None for what answers everybody, `session` for what only sessions have."""

    action: Action | str | None
    thing: Thing = "site"
    body: Any = None
    destroys: bool = False
    """Each asker gets a thing of its own."""


SEE, SITE, PUBLIC = Route("device.see", "device"), Route("account.see"), Route(None)
MEMBERS, SHARES = "tenant.manage_members", "device.share"
LASTS = "2026-12-01T00:00:00Z"
ROUTES: Mapping[str, Route] = {
    "GET /": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /page/{name}": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "HEAD /openapi.json": PUBLIC,
    "GET /asyncapi.json": PUBLIC,
    "GET /schemas": PUBLIC,
    "GET /schemas/{event_type}.json": PUBLIC,
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /api/v1/set-up": PUBLIC,
    "POST /api/v1/set-up": Route(None, body={}),
    "POST /api/v1/users": Route(None, body={}),
    "POST /api/v1/session": Route(None, body={}),
    "GET /api/v1/session": Route("session"),
    "POST /api/v1/session/reauthentication": Route("session", body={"password": "wrong"}),
    "DELETE /api/v1/session": Route("session", destroys=True),
    "GET /metrics": Route("site.metrics"),
    "GET /api/v1/fleet": SITE,
    "GET /api/v1/devices": SITE,
    "GET /api/v1/latest": SITE,
    "GET /api/v1/live/events": SITE,
    "WEBSOCKET /api/v1/live": SITE,
    "GET /api/v1/device": Route("device.act_as", "own"),
    "GET /api/v1/device/firmware": Route("device.act_as", "own"),
    "GET /api/v1/device/firmware/images/{sha256}": Route("device.act_as", "own"),
    "HEAD /api/v1/device/firmware/images/{sha256}": Route("device.act_as", "own"),
    "GET /api/v1/devices/{device_id}": SEE,
    "GET /api/v1/devices/{device_id}/latest": SEE,
    "GET /api/v1/devices/{device_id}/readings": SEE,
    "GET /api/v1/devices/{device_id}/daily": SEE,
    "GET /api/v1/devices/{device_id}/commands": SEE,
    "GET /api/v1/devices/{device_id}/commands/{command_id}": SEE,
    "GET /api/v1/devices/{device_id}/why": SEE,
    "GET /api/v1/devices/{device_id}/configuration": Route("device.see|device.act_as", "device"),
    "PATCH /api/v1/devices/{device_id}": Route("device.describe", "device", {"name": "Lamp"}),
    "DELETE /api/v1/devices/{device_id}": Route("device.decommission", "device", destroys=True),
    "POST /api/v1/devices/{device_id}/token": Route("device.rotate_token", "device", destroys=True),
    "PUT /api/v1/devices/{device_id}/configuration": Route("device.configure", "device", {}),
    "POST /api/v1/devices/{device_id}/commands": Route("device.switch", "device", {"type": "toggle"}),
    "GET /api/v1/devices/{device_id}/shares": Route(SHARES, "device"),
    "POST /api/v1/devices/{device_id}/shares": Route(SHARES, "device", {"email": "no@x.example", "permission": "view"}),
    "PUT /api/v1/devices/{device_id}/shares/{user_id}": Route(SHARES, "device", {"permission": "view"}),
    "DELETE /api/v1/devices/{device_id}/shares/{user_id}": Route(SHARES, "device"),
    "GET /api/v1/tenants": SITE,
    "POST /api/v1/tenants": Route("account.found_tenant", body={"name": "Shop"}),
    "GET /api/v1/tenants/{tenant_id}": Route("tenant.see", "tenant"),
    "PATCH /api/v1/tenants/{tenant_id}": Route("tenant.rename", "tenant", {"name": "Home"}),
    "GET /api/v1/tenants/{tenant_id}/members": Route("tenant.see_members", "tenant"),
    "PATCH /api/v1/tenants/{tenant_id}/members/{user_id}": Route(MEMBERS, "tenant", {"role": "viewer"}),
    "DELETE /api/v1/tenants/{tenant_id}/members/{user_id}": Route(MEMBERS, "tenant"),
    "GET /api/v1/tenants/{tenant_id}/invitations": Route(MEMBERS, "tenant"),
    "POST /api/v1/tenants/{tenant_id}/invitations": Route(MEMBERS, "tenant", {"role": "viewer"}),
    "DELETE /api/v1/tenants/{tenant_id}/invitations/{invitation_id}": Route(MEMBERS, "tenant"),
    "POST /api/v1/tenants/{tenant_id}/devices": Route(
        "tenant.register_device", "tenant", {"device_id": "bridge", "name": "Taken"}
    ),
    "POST /api/v1/tenants/{tenant_id}/devices/bulk": Route("tenant.register_device", "tenant", b"nothing"),
    "POST /api/v1/invitations/accept": Route("account.join_tenant", body={"token": "wai_" + "0" * 64}),
    "GET /api/v1/dead-letters": Route("site.dead_letters"),
    "GET /api/v1/dead-letters/{topic}/{partition}/{offset}/raw": Route("site.dead_letters"),
    "GET /api/v1/audit": Route("site.audit"),
    "GET /api/v1/site/admins": Route("site.admins"),
    "PUT /api/v1/site/admins/{user_id}": Route("site.admins"),
    "DELETE /api/v1/site/admins/{user_id}": Route("site.admins"),
    "GET /api/v1/firmware": Route("site.firmware"),
    "POST /api/v1/firmware": Route("site.firmware", body=b"no image"),
    "DELETE /api/v1/firmware/{board}/{counter}": Route("site.firmware"),
    "GET /api/v1/account": SITE,
    "GET /api/v1/account/tokens": SITE,
    "PATCH /api/v1/account": Route("account.change", body={}),
    "PUT /api/v1/account/password": Route("account.change", body={"password": "the same long password"}),
    "POST /api/v1/account/tokens": Route("account.change", body={"label": "x", "scope": "read", "expires_at": LASTS}),
    "DELETE /api/v1/account/tokens/{token_id}": Route("account.change"),
    "DELETE /api/v1/account": Route("account.change", destroys=True),
}
_COMMANDS = "POST /api/v1/devices/{device_id}/commands"
_SHARES = "/api/v1/devices/{device_id}/shares"
_MANAGE = "device.share_manage"
VARIANTS: Mapping[str, Route] = {
    f"POST {_SHARES} #manage": Route(_MANAGE, "device", {"email": "no@x.example", "permission": "manage"}),
    f"PUT {_SHARES}/{{user_id}} #manage": Route(_MANAGE, "device", {"permission": "manage"}),
    f"{_COMMANDS} #on": Route("device.switch", "device", {"type": "switch", "relay": True}),
    f"{_COMMANDS} #off": Route("device.switch", "device", {"type": "switch", "relay": False}),
    f"{_COMMANDS} #restart": Route("device.switch", "device", {"type": "restart"}),
    f"{_COMMANDS} #identify": Route("device.switch", "device", {"type": "identify"}),
    f"{_COMMANDS} #configure": Route("device.configure", "device", {"type": "configure", "config": {}}),
    f"{_COMMANDS} #calibrate": Route(
        "device.configure", "device", {"type": "calibrate", "reference": {"power_mw": 1_980_000}}
    ),
    "DELETE /api/v1/tenants/{tenant_id}/members/{own_id} #leave": Route("tenant.leave", "left tenant"),
}
"""A route again, where what it asks the policy depends on what is sent."""


def registered(app: FastAPI) -> set[str]:
    """Every method of every route there is, in the schema or not; whatever else is mounted, too."""
    return {
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        for method in getattr(route, "methods", None) or {"WEBSOCKET"}
    }
