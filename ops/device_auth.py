"""Decides for NATS who may connect by MQTT and which topics are theirs (the broker's auth callout).

NATS asks with a JWT and gets a signed one back. A device needs its token and a client id equal to its id; it may then
publish `devices/{id}/data` and `…/status`, and subscribe to its `…/commands` and `…/receipts`. The bridge gets
everything below `devices/`.
Source: NATS documentation, "Auth Callout" and "JWT guide"; `/` of MQTT is `.` of NATS.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nats
import nats.errors
import nkeys
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from domain.device_ids import parse_device_id
from domain.errors import DependencyUnavailable, InvalidDeviceId
from ops.credentials import device_token

_SUBJECT = "$SYS.REQ.USER.AUTH"
_QUEUE = "device-auth"
_FIRST_CONNECT_WITHIN_S = 30
# Where NATS delivers QoS 1 messages to an MQTT client; every client needs it for its own subscriptions.
_QOS1_DELIVERY = "$MQTT.sub.>"

log = structlog.get_logger()


@dataclass(frozen=True)
class Policy:
    """Who may do what.

    Args:
        bridge_user: the one user that is not a device.
    """

    fleet_secret: bytes
    bridge_user: str
    bridge_password: str

    def permissions(self, user: str, password: str, client_id: str) -> dict[str, Any] | None:
        """What NATS shall let this client do; None: it may not connect."""
        if user == self.bridge_user:
            if not hmac.compare_digest(password.encode(), self.bridge_password.encode()):
                return None
            return _permissions(publish=["devices.>"], subscribe=["devices.>"])
        try:
            device_id = parse_device_id(user)
        except InvalidDeviceId:
            return None
        expected = device_token(self.fleet_secret, device_id)
        if not hmac.compare_digest(password.encode(), expected.encode()) or client_id != device_id:
            return None
        own = f"devices.{device_id}"
        return _permissions(publish=[f"{own}.data", f"{own}.status"], subscribe=[f"{own}.commands", f"{own}.receipts"])


def _permissions(*, publish: list[str], subscribe: list[str]) -> dict[str, Any]:
    return {"pub": {"allow": publish}, "sub": {"allow": [*subscribe, _QOS1_DELIVERY]}}


class Issuer:
    """Answers the broker's requests with JWTs signed by the key it trusts."""

    def __init__(
        self, key: nkeys.KeyPair, account: str, policy: Policy, now_s: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._account = account
        self._policy = policy
        self._now_s = now_s

    def answer(self, request: bytes) -> bytes:
        """The signed answer to one request.

        Raises:
            ValueError: not an authorization request.
        """
        try:
            claims = _unsigned_claims(request)["nats"]
            user_key, server_id = claims["user_nkey"], claims["server_id"]["id"]
            options, client = claims["connect_opts"], claims["client_info"]
        except (KeyError, TypeError) as error:
            raise ValueError("not an authorization request") from error
        user, client_id = options.get("user", ""), client.get("mqtt_id", "")
        permissions = self._policy.permissions(user, options.get("pass", ""), client_id)
        decision: dict[str, Any]
        if permissions is None:
            log.warning("connection refused", user=user[:80], client_id=client_id[:80])
            decision = {"error": "wrong user name, password or client id"}
        else:
            decision = {"jwt": self._user_jwt(user, user_key, permissions)}
        decision |= {"type": "authorization_response", "version": 2}
        return self._sign({"aud": server_id, "sub": user_key, "nats": decision}).encode()

    def _user_jwt(self, user: str, user_key: str, permissions: dict[str, Any]) -> str:
        limits = {"subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2}
        grants = {**permissions, **limits, "allowed_connection_types": ["MQTT"]}
        return self._sign({"aud": self._account, "sub": user_key, "name": user, "nats": grants})

    def _sign(self, claims: dict[str, Any]) -> str:
        claims = {"iss": self._key.public_key.decode(), "iat": int(self._now_s()), **claims}
        digest = hashlib.sha256(json.dumps(claims).encode()).digest()
        claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
        header = _base64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
        signed = f"{header}.{_base64(json.dumps(claims).encode())}"
        return f"{signed}.{_base64(self._key.sign(signed.encode()))}"


def _unsigned_claims(token: bytes) -> Any:
    # The signature is the broker's own; nobody else can publish on this subject of this account.
    body = token.split(b".")[1] if token.count(b".") == 2 else b""
    return json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


async def serve_device_auth(
    issuer: Issuer, *, server: str, user: str, password: str, stop: asyncio.Event, on_ready: Callable[[], None]
) -> None:
    """Answer the broker until `stop` is set; survives restarts of the broker.

    Raises:
        DependencyUnavailable: the broker does not let us in within half a minute.
    """

    async def decide(message: Msg) -> None:
        try:
            await message.respond(issuer.answer(message.data))
        except (ValueError, nats.errors.Error) as error:
            log.warning("authorization request not answered", error=str(error))

    client = await _connect(server, user, password)
    try:
        await client.subscribe(_SUBJECT, queue=_QUEUE, cb=decide)
        await client.flush(5)
        on_ready()
        await stop.wait()
    finally:
        await client.close()


async def _connect(server: str, user: str, password: str) -> Client:
    async def report(error: Exception) -> None:
        log.warning("nats connection", error=str(error) or type(error).__name__)

    try:
        async with asyncio.timeout(_FIRST_CONNECT_WITHIN_S):
            return await nats.connect(
                server,
                user=user,
                password=password,
                error_cb=report,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,
                connect_timeout=2,
            )
    except (TimeoutError, OSError, nats.errors.Error) as error:
        detail = f"the auth callout cannot connect: {error or type(error).__name__}"
        raise DependencyUnavailable("mqtt", detail) from error
