"""Example answers about accounts, tenants, sockets, commands and the audit log; a test holds each against its model."""

from __future__ import annotations

from typing import Any

_USER = "0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11"
_TENANT = "7c1f2c52-8a35-4d0c-9a6b-5a2f7b1d9e10"
_COMMAND = "3f0d4c1a-6f6b-5c0e-8a53-9c2b7d1e4f60"
_TOKEN = "5f0c2a9e4711d3b8a6e0f1c27d94b3586a1f0e2d3c4b5a69788796a5b4c3d2e1"  # noqa: S105 - an example

ACCOUNT: dict[str, Any] = {
    "user_id": _USER,
    "name": "Ann",
    "email": "ann@example.org",
    "signed_up_at": "2026-11-01T08:00:00.000Z",
    "admin": True,
    "tenants": [{"tenant_id": _TENANT, "name": "Ann's home", "role": "owner"}],
}
API_TOKEN: dict[str, Any] = {
    "token_id": "b7a5c5e2-7a52-4f0e-8f39-1f2d3c4b5a69",
    "label": "heating script",
    "scope": "control",
    "issued_at": "2026-11-01T08:00:00.000Z",
    "expires_at": "2027-05-01T00:00:00.000Z",
}
API_TOKENS: dict[str, Any] = {"items": [API_TOKEN]}
ISSUED_API_TOKEN: dict[str, Any] = {**API_TOKEN, "token": f"wat_{_TOKEN}"}
TENANT: dict[str, Any] = {
    "tenant_id": _TENANT,
    "name": "Ann's home",
    "role": "owner",
    "members": 2,
    "devices": 12,
}
TENANTS: dict[str, Any] = {"items": [TENANT]}
MEMBERS: dict[str, Any] = {
    "items": [{"user_id": _USER, "name": "Ann", "email": "ann@example.org", "role": "owner"}],
}
INVITATION: dict[str, Any] = {
    "invitation_id": "c0ffee00-7a52-4f0e-8f39-1f2d3c4b5a69",
    "role": "operator",
    "issued_at": "2026-11-23T17:00:00.000Z",
    "expires_at": "2026-11-30T17:00:00.000Z",
}
INVITATIONS: dict[str, Any] = {"items": [INVITATION]}
ISSUED_INVITATION: dict[str, Any] = {**INVITATION, "token": f"wai_{_TOKEN}"}
JOINED: dict[str, Any] = {"tenant_id": _TENANT, "role": "operator"}
ADMINS: dict[str, Any] = {"items": [{"user_id": _USER, "name": "Ann", "email": "ann@example.org"}]}

REGISTERED_DEVICE: dict[str, Any] = {"device_id": "kitchen-kettle", "token": _TOKEN}
REGISTERED_DEVICES: dict[str, Any] = {"items": [REGISTERED_DEVICE]}
REGISTERED_CSV = f"device_id,token\r\nkitchen-kettle,{_TOKEN}\r\n"
DEVICES_CSV = "device_id,name,location\r\nkitchen-kettle,Kettle,Kitchen\r\ngarage-heater,Heater,\r\n"
DESCRIBED_DEVICE: dict[str, Any] = {
    "device_id": "kitchen-kettle",
    "tenant_id": _TENANT,
    "name": "Kettle",
    "location": "Kitchen",
}
CONFIGURATION: dict[str, Any] = {
    "device_id": "kitchen-kettle",
    "desired": {"interval_ms": 5000, "max_power_mw": 2_500_000, "power_on": "last", "time_zone": "Europe/Berlin"},
    "version": 7,
    "reported_version": 7,
    "confirmed": True,
    "command_url": None,
}
SHARES: dict[str, Any] = {"items": [{"user_id": _USER, "name": "Bob", "permission": "switch"}]}
SHARE_ASKED: dict[str, Any] = {"email": "bob@example.org", "permission": "switch"}

ACCEPTED_COMMAND: dict[str, Any] = {
    "command_id": _COMMAND,
    "device_id": "kitchen-kettle",
    "type": "switch",
    "requested_at": "2026-11-23T17:00:00.000Z",
    "expires_at": "2026-11-23T17:00:30.000Z",
    "url": f"/api/v1/devices/kitchen-kettle/commands/{_COMMAND}",
}
# Without nulls: FastAPI leaves those out of examples.
COMMAND: dict[str, Any] = {
    "command_id": _COMMAND,
    "device_id": "kitchen-kettle",
    "type": "switch",
    "order": {"type": "switch", "relay": True},
    "state": "failed",
    "why": "user",
    "actor": f"user:{_USER}",
    "who": "Ann",
    "correlation_id": "6b1f9a52-0d4f-4c1e-9a50-4f2c0b9b4d7e",
    "requested_at": "2026-11-23T17:00:00.000Z",
    "expires_at": "2026-11-23T17:00:30.000Z",
    "attempts": 3,
    "dispatched_at": "2026-11-23T17:00:00.011Z",
    "ended_at": "2026-11-23T17:00:00.034Z",
    "latency_ms": 34,
    "reason": "no_answer",
    "late_result": "done",
}
COMMANDS: dict[str, Any] = {"items": [COMMAND], "next_cursor": "WzE3OTU0NTMxNDAwMDAsIngiXQ"}
WHY: dict[str, Any] = {
    "device_id": "kitchen-kettle",
    "items": [
        {
            "source": "command",
            "at": "2026-11-23T17:00:00.034Z",
            "command_id": _COMMAND,
            "type": "switch",
            "relay": True,
            "why": "user",
            "actor": f"user:{_USER}",
            "who": "Ann",
            "correlation_id": "6b1f9a52-0d4f-4c1e-9a50-4f2c0b9b4d7e",
            "report": None,
        }
    ],
}
AUDIT_RECORD: dict[str, Any] = {
    "id": f"{_COMMAND}:1",
    "at": "2026-11-23T17:00:00.000Z",
    "actor": f"user:{_USER}",
    "who": "Ann",
    "origin": "192.0.2.17",
    "correlation_id": "6b1f9a52-0d4f-4c1e-9a50-4f2c0b9b4d7e",
    "action": "command-requested",
    "subject": f"command:{_COMMAND}",
    "device_id": "kitchen-kettle",
    "tenant_id": None,
    "denied": False,
    "reason": None,
    "before": {},
    "after": {"order": {"type": "switch", "relay": True}, "why": "user"},
}
AUDIT: dict[str, Any] = {"items": [AUDIT_RECORD], "next_cursor": None}
AUDIT_CSV = (
    "at,actor,who,origin,action,subject,device_id,tenant_id,denied,reason,correlation_id,before,after\r\n"
    f"2026-11-23T17:00:00.000Z,user:{_USER},Ann,192.0.2.17,command-requested,command:{_COMMAND},kitchen-kettle,,"
    'false,,6b1f9a52-0d4f-4c1e-9a50-4f2c0b9b4d7e,{},"{""why"":""user""}"\r\n'
)
