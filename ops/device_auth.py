"""Decides for NATS who may connect by MQTT and which topics are theirs (the broker's auth callout).

NATS asks with a JWT and gets a signed one back. A device needs its token and a client id equal to its id; it may then
publish `devices/{id}/data` and `…/status`, and subscribe to its `…/commands` and `…/receipts`. Our own roles get what
each of them needs.
Source: NATS documentation, "Auth Callout" and "JWT guide"; `/` of MQTT is `.` of NATS.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import nats
import nats.errors
import nkeys
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from domain.device_ids import parse_device_id
from domain.errors import DependencyUnavailable, InvalidDeviceId
from domain.lifecycle.access import KnownDevice
from domain.lifecycle.tokens import matches_broker_hash
from ops.service_users import DEVICE_READS, DEVICE_WRITES, ServiceUser

_SUBJECT = "$SYS.REQ.USER.AUTH"
_QUEUE = "device-auth"
_FIRST_CONNECT_WITHIN_S = 30
# Whoever is refused waits for a look into the log; more of them at once are refused without one.
_MOST_SECOND_LOOKS = 1000
# Where NATS delivers QoS 1 messages to an MQTT client; every client needs it for its own subscriptions.
_QOS1_DELIVERY = "$MQTT.sub.>"

log = structlog.get_logger()


class Grant(NamedTuple):
    """What NATS shall let a client do; `name` is how NATS lists its connection."""

    name: str
    permissions: dict[str, Any]


class Request(NamedTuple):
    """Who wants to connect, and what the answer must name."""

    user: str
    password: str
    client_id: str
    user_key: str
    server_id: str


def session_name(device: KnownDevice) -> str:
    """How NATS lists a device's connection: it tells a session of the token that counts from one of another."""
    return f"{device.device_id}:{device.token_sha256[:16]}"


class Policy:
    """Who may do what.

    Args:
        find_device: the device of this id, if it may connect.
        services: the users that are not devices; none of them can be taken for a device.
    """

    def __init__(self, find_device: Callable[[str], KnownDevice | None], services: Iterable[ServiceUser]) -> None:
        self._find_device = find_device
        self._services = {service.name: service for service in services}

    def grant(self, user: str, password: str, client_id: str) -> Grant | None:
        """What this client may do; None: it may not connect."""
        if (service := self._services.get(user)) is not None:
            if not hmac.compare_digest(password.encode(), service.password.encode()):
                return None
            return Grant(user, _permissions(publish=service.writes, subscribe=service.reads))
        device = self._device(user)
        if device is None or client_id != user or not matches_broker_hash(password, device.broker_hash):
            return None
        own = f"devices/{user}"
        return Grant(
            session_name(device),
            _permissions(
                publish=[f"{own}/{name}" for name in DEVICE_WRITES],
                subscribe=[f"{own}/{name}" for name in DEVICE_READS],
            ),
        )

    def _device(self, user: str) -> KnownDevice | None:
        try:
            return self._find_device(parse_device_id(user))
        except InvalidDeviceId:
            return None


def _permissions(*, publish: Iterable[str], subscribe: Iterable[str]) -> dict[str, Any]:
    return {
        "pub": {"allow": [_subject(topic) for topic in publish]},
        "sub": {"allow": [*(_subject(topic) for topic in subscribe), _QOS1_DELIVERY]},
    }


def _subject(topic: str) -> str:
    return topic.replace("/", ".").replace("+", "*")


class Issuer:
    """Answers the broker's requests with JWTs signed by the key it trusts."""

    def __init__(self, key: nkeys.KeyPair, account: str, now_s: Callable[[], float] = time.time) -> None:
        self._key, self._account, self._now_s = key, account, now_s

    def answer(self, request: Request, grant: Grant | None) -> bytes:
        """The signed answer to one request; without a grant it is refused."""
        decision: dict[str, Any]
        if grant is None:
            log.warning("connection refused", user=request.user[:80], client_id=request.client_id[:80])
            decision = {"error": "wrong user name, password or client id"}
        else:
            decision = {"jwt": self._user_jwt(request.user_key, grant)}
        decision |= {"type": "authorization_response", "version": 2}
        return self._sign({"aud": request.server_id, "sub": request.user_key, "nats": decision}).encode()

    def _user_jwt(self, user_key: str, grant: Grant) -> str:
        limits = {"subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2}
        grants = {**grant.permissions, **limits, "allowed_connection_types": ["MQTT"]}
        return self._sign({"aud": self._account, "sub": user_key, "name": grant.name, "nats": grants})

    def _sign(self, claims: dict[str, Any]) -> str:
        claims = {"iss": self._key.public_key.decode(), "iat": int(self._now_s()), **claims}
        digest = hashlib.sha256(json.dumps(claims).encode()).digest()
        claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
        header = _base64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
        signed = f"{header}.{_base64(json.dumps(claims).encode())}"
        return f"{signed}.{_base64(self._key.sign(signed.encode()))}"


def read_request(token: bytes) -> Request:
    """What the broker asks.

    Raises:
        ValueError: not an authorization request.
    """
    try:
        claims = _unsigned_claims(token)["nats"]
        options, client = claims["connect_opts"], claims["client_info"]
        who = (options.get("user", ""), options.get("pass", ""), client.get("mqtt_id", ""))
        return Request(*who, claims["user_nkey"], claims["server_id"]["id"])
    except (KeyError, TypeError) as error:
        raise ValueError("not an authorization request") from error


def _unsigned_claims(token: bytes) -> Any:
    # The signature is the broker's own; nobody else can publish on this subject of this account.
    body = token.split(b".")[1] if token.count(b".") == 2 else b""
    return json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class DeviceAuth:
    """Decides each request; whoever would be refused gets a second look, after what the log has by then.

    Args:
        refresh: return once the policy knows what happened until now.
    """

    def __init__(self, issuer: Issuer, policy: Policy, refresh: Callable[[], Awaitable[None]]) -> None:
        self._issuer, self._policy, self._refresh = issuer, policy, refresh
        self._second_looks: set[asyncio.Task[None]] = set()

    async def serve(self, client: Client) -> None:
        """From now on answer the broker, until the client is closed; survives restarts of the broker."""
        await client.subscribe(_SUBJECT, queue=_QUEUE, cb=self.decide)
        await client.flush(5)

    async def decide(self, message: Msg) -> None:
        """Answer one request of the broker; the next one does not wait for a second look."""
        try:
            request = read_request(message.data)
        except ValueError as error:
            log.warning("authorization request not answered", error=str(error))
            return
        grant = self._policy.grant(request.user, request.password, request.client_id)
        if grant is None and len(self._second_looks) < _MOST_SECOND_LOOKS:
            task = asyncio.create_task(self._look_again(message, request))
            self._second_looks.add(task)
            task.add_done_callback(self._second_looks.discard)
        else:
            await self._respond(message, request, grant)

    async def _look_again(self, message: Msg, request: Request) -> None:
        await self._refresh()
        await self._respond(message, request, self._policy.grant(request.user, request.password, request.client_id))

    async def _respond(self, message: Msg, request: Request, grant: Grant | None) -> None:
        try:
            await message.respond(self._issuer.answer(request, grant))
        except nats.errors.Error as error:
            log.warning("authorization request not answered", error=str(error))


@asynccontextmanager
async def connected_to_nats(
    server: str, user: str, password: str, *, on_reconnect: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Client]:
    """A connection that comes back whenever the server does, until the end of the block.

    Raises:
        DependencyUnavailable: the server does not let us in within half a minute.
    """
    client = await _connect(server, user, password, on_reconnect)
    try:
        yield client
    finally:
        await client.close()


async def _connect(server: str, user: str, password: str, on_reconnect: Callable[[], Awaitable[None]] | None) -> Client:
    async def report(error: Exception) -> None:
        log.warning("nats connection", error=str(error) or type(error).__name__)

    try:
        async with asyncio.timeout(_FIRST_CONNECT_WITHIN_S):
            return await nats.connect(
                server,
                user=user,
                password=password,
                error_cb=report,
                reconnected_cb=on_reconnect,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,
                connect_timeout=2,
            )
    except (TimeoutError, OSError, nats.errors.Error) as error:
        detail = f"{user} cannot connect: {error or type(error).__name__}"
        raise DependencyUnavailable("mqtt", detail) from error
