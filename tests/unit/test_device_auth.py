"""The auth callout lets a client do exactly what is its own; checked against the keys NATS would check with."""

from __future__ import annotations

import base64
import json
from typing import Any

import nkeys
import pytest

from domain.lifecycle.access import KnownDevice
from domain.lifecycle.tokens import device_token_hashes
from ops.device_auth import Issuer, Policy, Request, read_request
from ops.service_users import bridge_user

TOKENS = {"d1": "1" * 64, "d2": "2" * 64}
DEVICES = {
    device_id: KnownDevice(device_id, "t", "", *device_token_hashes(token)) for device_id, token in TOKENS.items()
}
POLICY = Policy(DEVICES.get, [bridge_user("bridge", "the bridge's password")])
KEY = nkeys.from_seed(bytearray(nkeys.encode_seed(bytes(32), prefix=nkeys.PREFIX_BYTE_ACCOUNT)))


def request(user: str, password: str, client_id: str) -> Request:
    """As the broker asks."""
    claims = {
        "nats": {
            "user_nkey": "UKEY",
            "server_id": {"id": "NSERVER"},
            "connect_opts": {"user": user, "pass": password},
            "client_info": {"mqtt_id": client_id},
        }
    }
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    return read_request(b"e30." + body + b".signature")


def opened(token: str) -> dict[str, Any]:
    """The claims of a JWT whose signature holds."""
    header, body, signature = (part + "=" * (-len(part) % 4) for part in token.split("."))
    signed = token.rsplit(".", 1)[0].encode()
    assert KEY.verify(signed, base64.urlsafe_b64decode(signature))
    assert json.loads(base64.urlsafe_b64decode(header)) == {"typ": "JWT", "alg": "ed25519-nkey"}
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body))
    return claims


def test_a_device_gets_its_own_topics_only() -> None:
    granted = POLICY.grant("d1", TOKENS["d1"], "d1")
    assert granted is not None
    assert granted.permissions["pub"]["allow"] == ["devices.d1.data", "devices.d1.status"]
    assert granted.permissions["sub"]["allow"][:2] == ["devices.d1.commands", "devices.d1.receipts"]


@pytest.mark.parametrize(
    ("user", "password", "client_id"),
    [
        ("d1", TOKENS["d2"], "d1"),
        ("d1", TOKENS["d1"], "d2"),
        ("d1", TOKENS["d1"], ""),
        ("d1", "", "d1"),
        ("d1", "ü" * 64, "d1"),
        ("", "", ""),
        ("d.1", TOKENS["d1"], "d.1"),
        ("*", TOKENS["d1"], "*"),
        (">", TOKENS["d1"], ">"),
        ("bridge", "", "bridge"),
        ("bridge", TOKENS["d1"], "bridge"),
    ],
)
def test_whoever_is_not_who_they_say_stays_out(user: str, password: str, client_id: str) -> None:
    assert POLICY.grant(user, password, client_id) is None
    answer = opened(Issuer(KEY, "FLEET").answer(request(user, password, client_id), None).decode())
    assert answer["nats"]["error"]
    assert "jwt" not in answer["nats"]


def test_the_answer_is_signed_for_this_server_and_this_client() -> None:
    issuer, who = Issuer(KEY, "FLEET", now_s=lambda: 1_764_000_000.5), ("bridge", "the bridge's password", "any")
    answer = opened(issuer.answer(request(*who), POLICY.grant(*who)).decode())
    assert (answer["aud"], answer["sub"], answer["iat"]) == ("NSERVER", "UKEY", 1_764_000_000)
    assert answer["iss"] == KEY.public_key.decode()
    user = opened(answer["nats"]["jwt"])
    assert (user["aud"], user["sub"], user["name"]) == ("FLEET", "UKEY", "bridge")
    assert user["nats"]["pub"] == {"allow": ["devices.*.receipts"]}
    assert user["nats"]["allowed_connection_types"] == ["MQTT"]


@pytest.mark.parametrize("garbage", [b"", b"a.b", b"a.!!.c", b"e30.e30.x", b"e30.W10.x", b"\xff.\xff.\xff"])
def test_a_request_that_is_none_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_request(garbage)
