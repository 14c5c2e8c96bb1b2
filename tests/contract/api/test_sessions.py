"""Signing in: cookies, fixation, CSRF, enumeration, lock-out, showing the password again, signing out."""

from __future__ import annotations

import secrets

import httpx
import pytest
from redis.asyncio import Redis

from api.lockout import FIRST_WAIT_S, FREE_ATTEMPTS
from api.problems import Unauthenticated
from api.sessions import IDLE_S, LONGEST_S
from domain.lifecycle.denials import Denial
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import CountingHasher, bearer, sign_in
from tests.unit.lifecycle_parts import forget

COOKIE = "wattaway_session"


def credentials(api: ApiCorner, password: str | None = None) -> dict[str, str]:
    return {"email": api.owner.email, "password": password or api.owner.password}


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


@pytest.mark.long_on_stack
async def test_a_cookie_is_for_our_own_pages_requests_only(api: ApiCorner) -> None:
    answer = await api.stranger().post("/api/v1/session", json=credentials(api))
    flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", f"max-age={LONGEST_S}"} <= flags
    assert "secure" not in flags
    assert not any(flag.startswith("domain") for flag in flags)
    assert answer.headers["cache-control"] == "no-store"


async def test_a_session_stands_in_redis_under_a_hash_and_for_a_week(api: ApiCorner) -> None:
    person = await api.person()
    cookie = person.cookies[COOKIE]
    [key] = [key async for key in api.redis.scan_iter(f"{api.prefix}session:*")]
    assert cookie.encode() not in key
    assert cookie.encode() not in await api.redis.get(key)
    await api.redis.expire(key, 10)
    assert (await person.get("/api/v1/session")).status_code == 200
    assert IDLE_S - 60 < await api.redis.ttl(key) <= IDLE_S


async def test_a_session_ends_after_thirty_days_however_often_it_is_used(api: ApiCorner) -> None:
    person = await api.person()
    api.clock.at_ms += LONGEST_S * 1000 - 1
    assert (await person.get("/api/v1/session")).status_code == 200
    api.clock.at_ms += 1
    assert problem_of(await person.get("/api/v1/session")) == (401, "unauthenticated")


@pytest.mark.long_on_stack
async def test_a_session_chosen_by_somebody_else_is_never_used(api: ApiCorner) -> None:
    """Session fixation."""
    person, planted = api.stranger(), secrets.token_urlsafe(32)
    person.cookies.set(COOKIE, planted)
    assert problem_of(await person.get("/api/v1/session")) == (401, "unauthenticated")
    answer = await person.post("/api/v1/session", json=credentials(api))
    assert answer.status_code == 201
    assert answer.cookies[COOKIE] != planted
    thief = api.stranger()
    thief.cookies.set(COOKIE, planted)
    assert problem_of(await thief.get("/api/v1/session")) == (401, "unauthenticated")


@pytest.mark.long_on_stack
async def test_signing_in_again_ends_the_browsers_earlier_session(api: ApiCorner) -> None:
    person = await api.person()
    before = api.stranger()
    before.cookies.set(COOKIE, person.cookies[COOKIE])
    answer = await person.post("/api/v1/session", json=credentials(api))
    assert answer.cookies[COOKIE] != before.cookies[COOKIE]
    assert problem_of(await before.get("/api/v1/session")) == (401, "unauthenticated")


@pytest.mark.long_on_stack
async def test_a_change_needs_the_sessions_csrf_token(api: ApiCorner) -> None:
    person = await api.person()
    token = person.headers.pop("X-CSRF-Token")
    other = (await api.person()).headers["X-CSRF-Token"]
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": other}, {"X-CSRF-Token": token[:-1]}):
        assert problem_of(await person.delete("/api/v1/session", headers=headers)) == (403, "csrf")
    foreign = {"X-CSRF-Token": token, "Origin": "https://evil.example"}
    assert problem_of(await person.delete("/api/v1/session", headers=foreign)) == (403, "csrf")
    own = {"X-CSRF-Token": token, "Origin": api.base_url}
    assert (await person.delete("/api/v1/session", headers=own)).status_code == 204


@pytest.mark.long_on_stack
async def test_another_page_can_sign_nobody_in_or_up(api: ApiCorner) -> None:
    for path, body in (("session", credentials(api)), ("users", {}), ("set-up", {})):
        for origin in ("https://evil.example", "null", "http://[", "[", ""):
            answer = await api.stranger().post(f"/api/v1/{path}", json=body, headers={"Origin": origin})
            assert problem_of(answer) == (403, "csrf"), (path, origin)


async def test_unknown_and_known_emails_are_refused_alike(api: ApiCorner, hasher: CountingHasher) -> None:
    refusals = []
    for email in (api.owner.email, "nobody@example.org"):
        before = hasher.verified
        answer = await api.stranger().post("/api/v1/session", json={"email": email, "password": "a wrong password"})
        refusals.append((problem_of(answer), answer.json()["detail"], sorted(answer.headers), hasher.verified - before))
    assert refusals[0] == refusals[1]
    assert refusals[0][0] == (401, "wrong-credentials")
    assert refusals[0][3] == 1


@pytest.mark.parametrize("exists", [True, False])
async def test_wrong_passwords_lock_an_account_out_for_longer_and_longer(api: ApiCorner, exists: bool) -> None:
    email = api.owner.email if exists else "nobody@example.org"
    client, wrong = api.stranger(), {"email": email, "password": "a wrong password"}
    for _ in range(FREE_ATTEMPTS):
        assert problem_of(await client.post("/api/v1/session", json=wrong)) == (401, "wrong-credentials")
    for wait_s in (FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S):
        answer = await client.post("/api/v1/session", json={"email": email, "password": api.owner.password})
        assert problem_of(answer) == (429, "locked-out")
        assert answer.headers["retry-after"] == str(wait_s)
        api.clock.at_ms += wait_s * 1000
        assert problem_of(await client.post("/api/v1/session", json=wrong)) == (401, "wrong-credentials")
    api.clock.at_ms += 8 * FIRST_WAIT_S * 1000
    right = await client.post("/api/v1/session", json={"email": email, "password": api.owner.password})
    assert right.status_code == (201 if exists else 401)


async def test_without_redis_sessions_are_a_503_and_tokens_still_work(
    api: ApiCorner, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await api.person()
    broken = Redis(port=9, socket_connect_timeout=0.5)
    # Taken back before the API ends, which closes the one that it has.
    monkeypatch.setattr(api.services.sessions, "_redis", broken)
    answer = await person.get("/api/v1/session")
    assert (answer.status_code, answer.json()["dependency"]) == (503, "redis")
    assert (await api.client.get("/api/v1/devices")).status_code == 200
    assert (await api.stranger().get("/api/v1/devices")).status_code == 401
    await broken.aclose()


@pytest.mark.long_on_stack
async def test_showing_the_password_again_gives_the_session_another_id(api: ApiCorner) -> None:
    person = await api.person()
    before = api.stranger()
    before.cookies.set(COOKIE, person.cookies[COOKIE])
    api.clock.at_ms += 3_600_000
    wrong = await person.post("/api/v1/session/reauthentication", json={"password": "a wrong password"})
    assert problem_of(wrong) == (403, "wrong-password")
    answer = await person.post("/api/v1/session/reauthentication", json={"password": api.owner.password})
    assert answer.status_code == 200
    assert answer.json()["authenticated_at"] == "2026-10-26T10:07:30.000Z"
    assert answer.json()["csrf_token"] != person.headers["X-CSRF-Token"]
    assert problem_of(await before.get("/api/v1/session")) == (401, "unauthenticated")
    assert (await person.get("/api/v1/session")).json() == answer.json()


async def test_signing_out_ends_the_session_for_good(api: ApiCorner) -> None:
    person = await api.person()
    cookie = person.cookies[COOKIE]
    answer = await person.delete("/api/v1/session")
    assert answer.status_code == 204
    assert 'wattaway_session=""' in answer.headers["set-cookie"]
    person.cookies.set(COOKIE, cookie)
    assert problem_of(await person.get("/api/v1/session")) == (401, "unauthenticated")


async def test_a_changed_password_and_a_forgotten_user_end_sessions_wherever_they_are(api: ApiCorner) -> None:
    person, accounts = await api.person(), api.members.application.accounts
    accounts.change_password(api.owner.user_id, "another long password", api.members.cause())
    assert problem_of(await person.get("/api/v1/session")) == (401, "unauthenticated")
    other = api.members.sign_up("ben")
    guest = await api.person(other)
    forget(api.members.application, other.user_id)
    assert problem_of(await guest.get("/api/v1/session")) == (401, "unauthenticated")


async def test_what_counts_no_more_is_401_and_says_how_to_ask(api: ApiCorner) -> None:
    ben = api.members.sign_up("ben")
    token = api.members.token_of(ben, "read")
    assert (await api.program(token).get("/api/v1/devices")).json() == {"items": [], "next_cursor": None}
    api.clock.at_ms += 31 * 86_400_000
    for wrong in (
        bearer(token),
        bearer("wat_" + "0" * 64),
        bearer("0" * 64),
        bearer("x"),
        {"Authorization": "Basic eDp4"},
    ):
        answer = await api.stranger().get("/api/v1/devices", headers=wrong)
        assert problem_of(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    answer = await api.stranger().get("/api/v1/devices")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_what_another_process_has_issued_is_good_at_once(api: ApiCorner) -> None:
    async with httpx.AsyncClient(base_url=api.base_url) as program:
        for number in range(5):
            token = api.members.token_of(api.owner)
            assert (await program.get("/api/v1/account", headers=bearer(token))).status_code == 200
            api.members.register(api.owner.tenant_id, f"kettle-{number}")
            itself = bearer(api.members.device_tokens[f"kettle-{number}"])
            assert (await program.get("/api/v1/device", headers=itself)).status_code == 200


@pytest.mark.long_on_stack
async def test_a_devices_token_is_good_for_the_device_itself_alone(api: ApiCorner) -> None:
    api.add_device("kettle")
    device = api.program(api.members.device_tokens["kettle"])
    answer = (await device.get("/api/v1/device")).json()
    assert answer == {
        "device_id": "kettle",
        "server_time": "2026-10-26T09:07:30.000Z",
        "config_version": 0,
        "config": {},
    }
    for path in ("devices", "devices/kettle", "devices/kettle/latest", "fleet", "dead-letters", "live/events"):
        assert (await device.get(f"/api/v1/{path}")).status_code == 403, path
    assert problem_of(await api.client.get("/api/v1/device")) == (403, "forbidden")
    api.members.application.sockets.rotate_token("kettle", api.members.cause())
    assert problem_of(await device.get("/api/v1/device")) == (401, "unauthenticated")


async def test_denied_attempts_are_noted_without_a_strangers_address(api: ApiCorner) -> None:
    api.add_device("kettle")
    ben = api.members.sign_up("ben")
    headers = {"X-Correlation-Id": "trace-7"}
    program = api.program(api.members.token_of(ben))
    for _ in range(3):
        assert problem_of(await program.get("/api/v1/devices/kettle", headers=headers)) == (404, "unknown-device")
        assert problem_of(await program.get("/api/v1/devices/nothing", headers=headers)) == (404, "unknown-device")
    await api.stranger().post("/api/v1/session", json=credentials(api, "a wrong password"))
    await api.services.deciding.denials.drain()
    lifecycle = api.members.application.lifecycle
    noted = [
        lifecycle.mapper.to_domain_event(one)
        for one in lifecycle.log_recorder.select_notifications(1, 1000, topics=[Denial.Denied.TOPIC])
    ]
    assert [(one.action, one.subject, one.reason) for one in noted[:1]] == [
        ("device.see", "device:kettle", "unknown-device")
    ]
    assert noted[0].correlation_id == "trace-7"
    assert noted[0].actor.startswith(f"token:{ben.user_id}/")
    assert "127.0.0.1" not in noted[0].origin
    assert (noted[1].action, noted[1].actor, noted[1].origin) == ("session.begin", "anonymous", "127.0.0.0/24")
    assert len(noted) == 2


async def test_whoever_is_forgotten_while_signing_in_is_nobody(
    api: ApiCorner, hasher: CountingHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, verify = api.members.sign_up("bob"), hasher.verify

    def verify_and_forget(hashed: str | bytes, password: str | bytes) -> bool:
        is_right = verify(hashed, password)
        forget(api.members.application, bob.user_id)
        return is_right

    monkeypatch.setattr(hasher, "verify", verify_and_forget)
    shown = {"email": bob.email, "password": bob.password}
    assert problem_of(await api.stranger().post("/api/v1/session", json=shown)) == (401, "wrong-credentials")
    await api.services.deciding.follower.catch_up()
    with pytest.raises(Unauthenticated):
        await api.services.sessions.begin(bob.user_id)


async def test_only_sessions_that_still_are_stand_in_a_users_list(api: ApiCorner) -> None:
    index = f"{api.prefix}sessions-of:{api.owner.user_id}"
    lasting = await api.person()
    for ending in ("signed out", "signed in anew", "shown again", "timed out"):
        person = await api.person()
        match ending:
            case "signed out":
                assert (await person.delete("/api/v1/session")).status_code == 204
            case "signed in anew":
                await sign_in(person, api.owner)
                await person.delete("/api/v1/session")
            case "shown again":
                answer = await person.post("/api/v1/session/reauthentication", json={"password": api.owner.password})
                person.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
                assert (await person.delete("/api/v1/session")).status_code == 204
            case "timed out":
                found = await api.services.sessions.find(person.cookies[COOKIE])
                assert found is not None
                await api.redis.delete(found.key)
                assert await api.redis.scard(index) == 2
    await api.person()
    assert await api.redis.scard(index) == 2
    assert (await lasting.get("/api/v1/session")).status_code == 200


@pytest.mark.long_on_stack
async def test_two_sessions_of_a_user_do_not_disturb_each_other(api: ApiCorner) -> None:
    first, second = await api.person(), await api.person()
    await first.delete("/api/v1/session")
    assert (await second.get("/api/v1/session")).status_code == 200
    await sign_in(first, api.owner)
    assert (await first.get("/api/v1/session")).status_code == 200
