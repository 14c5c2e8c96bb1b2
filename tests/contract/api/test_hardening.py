"""What stands before every route: rate limits, security headers, limits of bodies, origins, proxies, TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from api.body_limits import MOST_BYTES, MOST_CSV_BYTES
from api.protection import RATE_LIMITS, Protection
from api.server import Certificate, serve
from domain.errors import SettingInvalid
from domain.firmware_image import MOST_IMAGE_BYTES
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import bearer
from tests.contract.api.stranded import stranded_app
from tests.contract.api.test_serving import free_port


@pytest.fixture
def protection() -> Protection:
    limits = {**RATE_LIMITS, "tokens": "300/minute", "users": "7/minute", "sign-in": "6/minute"}
    return Protection(rate_limits=limits, cors_origins=("https://pages.example",))


async def test_a_token_has_so_many_requests_and_is_told_how_many_are_left(api: ApiCorner) -> None:
    left = []
    for _ in range(300):
        answer = await api.client.get("/api/v1/devices")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"tokens";q=300;w=60'
        left.append(int(answer.headers["ratelimit"].partition("r=")[2].partition(";")[0]))
    assert left == list(range(299, -1, -1))
    refused = await api.client.get("/api/v1/devices")
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert refused.json()["type"] == "/problems/too-many-requests"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"tokens";r=0;t=')
    assert refused.headers["x-content-type-options"] == "nosniff"
    other = api.program(api.members.token_of(api.owner))
    assert (await other.get("/api/v1/devices")).status_code == 200


@pytest.mark.parametrize("protection", [Protection(rate_limits={**RATE_LIMITS, "sign-up": "4/hour"})])
async def test_whose_email_is_taken_is_tried_as_slowly_by_changing_ones_own_as_by_signing_up(api: ApiCorner) -> None:
    person, bob = await api.person(), api.members.sign_up("bob")
    statuses = []
    for number in range(5):
        body = {"email": bob.email if number % 2 else f"olga-{number}@example.org"}
        statuses.append((await person.patch("/api/v1/account", json=body)).status_code)
    assert statuses == [200, 409, 200, 409, 429]
    assert (await person.patch("/api/v1/account", json={"name": "Olga"})).status_code == 200
    # Another address would not help the user.
    await api.redis.delete(*[one async for one in api.redis.scan_iter(f"{api.prefix}limits*sign-up/127.0.0.1*")])
    api.services.rate_limits._leases.clear()
    assert (await person.patch("/api/v1/account", json={"email": bob.email})).status_code == 429


async def test_two_processes_share_a_users_limit(api: ApiCorner) -> None:
    person = await api.person()
    statuses = [(await person.get("/api/v1/session")).status_code for _ in range(4)]
    # What another process would count in the same Redis.
    [key] = [one async for one in api.redis.scan_iter(f"{api.prefix}limits*users*")]
    await api.redis.incrby(key, 2)
    statuses += [(await person.get("/api/v1/session")).status_code for _ in range(3)]
    assert statuses == [200, 200, 200, 200, 200, 429, 429]


async def test_passwords_are_tried_at_a_slow_rate_whatever_the_account(api: ApiCorner) -> None:
    statuses = []
    for number in range(8):
        body = {"email": f"somebody-{number}@example.org", "password": "a wrong password"}
        statuses.append((await api.stranger().post("/api/v1/session", json=body)).status_code)
    assert statuses == [401] * 6 + [429] * 2


@pytest.mark.long_on_stack
async def test_every_answer_carries_the_security_headers(api: ApiCorner) -> None:
    for path, status in (("/", 200), ("/healthz", 200), ("/api/v1/devices", 401), ("/nowhere", 404)):
        answer = await api.stranger().get(path)
        assert answer.status_code == status, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "strict-transport-security" not in answer.headers
        assert "server" not in answer.headers
    assert (await api.client.get("/api/v1/devices")).headers["cache-control"] == "no-store"


@pytest.mark.long_on_stack
async def test_a_correlation_id_comes_back_only_if_it_is_harmless(api: ApiCorner) -> None:
    for given in ("abc-123_X", "a" * 64):
        answer = await api.client.get("/api/v1/devices", headers={"X-Correlation-Id": given})
        assert answer.headers["x-correlation-id"] == given
    for given in ("a" * 65, "a b", "a\tSet-Cookie: x=1", "<script>", "ä", ""):
        answer = await api.client.get("/api/v1/devices", headers=[(b"X-Correlation-Id", given.encode())])
        assert answer.headers["x-correlation-id"] != given
        assert len(answer.headers["x-correlation-id"]) == 36
        assert "set-cookie" not in answer.headers


@pytest.mark.long_on_stack
async def test_what_a_client_sends_never_becomes_a_header(api: ApiCorner) -> None:
    """Header injection, through paths and parameters."""
    for path in (
        "/api/v1/devices/x%0d%0aSet-Cookie:%20a=b/readings",
        "/api/v1/dead-letters/x%0d%0aSet-Cookie:%20a=b/1/2/raw",
        "/page/x%0d%0aSet-Cookie:%20a=b.js",
        "/api/v1/devices?cursor=%0d%0aSet-Cookie:%20a=b",
    ):
        answer = await api.client.get(path)
        assert 400 <= answer.status_code < 500, path
        assert "set-cookie" not in answer.headers


@pytest.mark.long_on_stack
async def test_a_body_has_its_limit_whether_or_not_it_says_its_length(api: ApiCorner) -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b" " * 1024

    for content in (b" " * (MOST_BYTES + 1), chunks(MOST_BYTES // 1024 + 1)):
        headers = {"Content-Type": "application/json"}
        answer = await api.stranger().post("/api/v1/session", content=content, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")
    csv, octets = {"Content-Type": "text/csv"}, {"Content-Type": "application/octet-stream"}
    for headers in (csv, octets):
        answer = await api.stranger().post("/api/v1/session", content=b" " * (MOST_BYTES + 1), headers=headers)
        assert answer.status_code == 413, "whatever it says that it is"
    answer = await api.client.post("/api/v1/firmware", content=bytes(MOST_IMAGE_BYTES), headers=octets)
    assert answer.status_code == 422, "as large as an image may be"
    answer = await api.client.post("/api/v1/firmware", content=bytes(MOST_IMAGE_BYTES + 1), headers=octets)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")
    bulk = f"/api/v1/tenants/{api.owner.tenant_id}/devices/bulk"
    answer = await api.client.post(bulk, content=b" " * MOST_CSV_BYTES, headers=csv)
    assert answer.status_code == 422, "as large as a list may be"
    answer = await api.client.post(bulk, content=b" " * (MOST_CSV_BYTES + 1), headers=csv)
    assert answer.status_code == 413


@pytest.mark.long_on_stack
async def test_only_chosen_origins_may_ask_and_never_with_a_cookie(api: ApiCorner) -> None:
    for origin, allowed in (("https://pages.example", True), ("https://evil.example", False)):
        answer = await api.client.get("/api/v1/devices", headers={"Origin": origin})
        assert ("access-control-allow-origin" in answer.headers) is allowed
        assert "access-control-allow-credentials" not in answer.headers


# --- proxies and TLS ------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(folder: Path, **more: object) -> AsyncIterator[tuple[FastAPI, int, str]]:
    (app, token), port, stop = stranded_app(folder), free_port(), asyncio.Event()
    task = asyncio.create_task(serve(app, host="127.0.0.1", port=port, stop=stop, **more))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        yield app, port, token
    finally:
        stop.set()
        await task


@pytest.mark.parametrize(("proxies", "believed"), [(["127.0.0.0/8"], True), (["10.0.0.1"], False), ([], False)])
async def test_forwarded_headers_are_believed_from_trusted_proxies_only(
    tmp_path: Path, proxies: list[str], believed: bool
) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    async with (
        serving(tmp_path, trusted_proxies=proxies) as (app, port, _),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client,
    ):
        answer = await client.get("/healthz")
        assert ("strict-transport-security" in answer.headers) is believed
        counted = {key for who, key in app.state.services.rate_limits._leases if who == "strangers"}
        assert counted == {"203.0.113.9" if believed else "127.0.0.1"}


async def test_over_tls_there_is_hsts_and_a_host_cookies_name(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate.chain))
    async with (
        serving(tmp_path, certificate=certificate) as (_, port, token),
        httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trust, headers=bearer(token)) as client,
    ):
        answer = await client.get("/readyz")
        assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
        assert (await client.get("/api/v1/device")).status_code == 403


@pytest.mark.long_on_stack
async def test_a_session_over_tls_has_a_secure_cookie_of_this_host_alone(api: ApiCorner) -> None:
    transport = httpx.ASGITransport(api.app)
    body = {"email": api.owner.email, "password": api.owner.password}
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example") as client:
        await api.services.deciding.follower.catch_up()
        answer = await client.post("/api/v1/session", json=body, headers={"Origin": "https://api.example"})
        assert answer.status_code == 201
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-wattaway_session=")
        assert "; secure" in cookie.lower()
        assert (await client.get("/api/v1/session")).status_code == 200
        downgraded = {"Origin": "http://api.example"}
        assert (await client.post("/api/v1/session", json=body, headers=downgraded)).status_code == 403


async def test_a_certificate_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "nonsense.pem").write_text("nonsense")
    certificate = Certificate(tmp_path / "nonsense.pem", tmp_path / "nonsense.pem")
    with pytest.raises(SettingInvalid, match="WATTAWAY_API_TLS_CERTIFICATE"):
        await serve(
            stranded_app(tmp_path)[0], host="127.0.0.1", port=free_port(), stop=asyncio.Event(), certificate=certificate
        )


def self_signed(folder: Path) -> Certificate:
    """A certificate of 127.0.0.1, made by itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    chain = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(alternative, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "chain.pem", folder / "key.pem")
    made.chain.write_bytes(chain.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    made.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return made
