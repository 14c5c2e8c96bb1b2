"""Becoming a user: the first one with the code, later ones as the operator allows it."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.protection import Protection
from ops.set_up_code import held_set_up_code, new_set_up_code
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import CountingHasher

ANN = {"email": "ann@example.org", "name": "Ann", "password": "a very long password"}


@pytest.fixture
def protection(request: pytest.FixtureRequest, tmp_path: Path) -> Protection:
    mode: Any = getattr(request, "param", "invitation")
    return Protection(sign_up=mode, hold_set_up_code=partial(held_set_up_code, tmp_path))


@pytest.fixture
def set_up_code(tmp_path: Path) -> str:
    return new_set_up_code(tmp_path)


open_to_all = pytest.mark.parametrize("protection", ["open"], indirect=True)


def kind_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


async def test_the_first_user_needs_the_code_and_gets_what_belongs_to_nobody(
    empty_api: ApiCorner, set_up_code: str
) -> None:
    tenant_id, _ = empty_api.members.application.tenancy.found(empty_api.members.cause(), name="Demo", owner_id=None)
    empty_api.members.register(tenant_id, "demo-1")
    person = empty_api.stranger()
    assert (await person.get("/api/v1/set-up")).json() == {"needed": True, "sign_up": "invitation"}
    assert kind_of(await person.post("/api/v1/users", json=ANN)) == (409, "not-set-up")
    assert kind_of(await person.post("/api/v1/set-up", json=ANN | {"code": "guess"})) == (403, "wrong-code")
    answer = await person.post("/api/v1/set-up", json=ANN | {"code": set_up_code})
    assert answer.status_code == 201
    assert answer.json()["admin"] is True
    assert [one["device_id"] for one in (await person.get("/api/v1/devices")).json()["items"]] == ["demo-1"]
    assert (await person.get("/api/v1/dead-letters")).status_code == 200
    assert (await person.get("/api/v1/set-up")).json()["needed"] is False
    again = await empty_api.stranger().post("/api/v1/set-up", json=ANN | {"code": set_up_code})
    assert kind_of(again) == (409, "already-set-up")


@pytest.mark.long_on_stack
async def test_what_another_process_has_set_up_is_known_at_once(empty_api: ApiCorner) -> None:
    async with httpx.AsyncClient(base_url=empty_api.base_url) as somebody:
        for needed in (True, False):
            assert (await somebody.get("/api/v1/set-up")).json()["needed"] is needed
            empty_api.members.sign_up(f"olga-{needed}")


async def test_a_code_stays_good_until_somebody_has_signed_up_with_it_once(
    empty_api: ApiCorner, set_up_code: str
) -> None:
    application = empty_api.members.application
    with application.database.transaction() as connection:
        application.personal.keys.reserving(application.accounts.name_hash(ANN["email"]), str(uuid4()))(connection)
    failed = await empty_api.stranger().post("/api/v1/set-up", json=ANN | {"code": set_up_code})
    assert kind_of(failed) == (409, "name-taken")
    assert not empty_api.services.deciding.access.claimed
    others = [ANN | {"code": set_up_code, "email": f"{number}@example.org"} for number in range(5)]
    answers = await asyncio.gather(*(empty_api.stranger().post("/api/v1/set-up", json=one) for one in others))
    assert sorted(answer.status_code for answer in answers)[0] == 201
    assert {kind_of(answer) for answer in answers if answer.status_code != 201} <= {
        (403, "wrong-code"),
        (409, "already-set-up"),
    }
    assert len(empty_api.services.deciding.access.users) == 1


@pytest.mark.long_on_stack
async def test_without_an_invitation_nobody_signs_up(api: ApiCorner) -> None:
    assert kind_of(await api.stranger().post("/api/v1/users", json=ANN)) == (403, "invitation-needed")
    wrong = await api.stranger().post("/api/v1/users", json=ANN | {"invitation": "wai_" + "0" * 64})
    assert kind_of(wrong) == (404, "unknown-invitation")


async def test_an_invitation_is_good_for_one_user_of_its_tenant(api: ApiCorner) -> None:
    api.add_device("kettle")
    invited = api.members.application.tenancy.invite(api.owner.tenant_id, "viewer", api.members.cause()).token
    client = api.stranger()
    answer = await client.post("/api/v1/users", json=ANN | {"invitation": invited})
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    assert "set-cookie" not in answer.headers
    signed_in = await client.post("/api/v1/session", json={"email": ANN["email"], "password": ANN["password"]})
    assert signed_in.json()["admin"] is False
    assert [one["device_id"] for one in (await client.get("/api/v1/devices")).json()["items"]] == ["kettle"]
    again = await client.post("/api/v1/users", json=ANN | {"email": "ben@example.org", "invitation": invited})
    assert kind_of(again) == (404, "unknown-invitation")


@open_to_all
async def test_nobody_learns_by_signing_up_whose_email_is_taken(api: ApiCorner, hasher: CountingHasher) -> None:
    answers = []
    for email in (api.owner.email, "free@example.org"):
        before = hasher.hashed
        answer = await api.stranger().post("/api/v1/users", json=ANN | {"email": email})
        answers.append((answer.status_code, answer.json(), sorted(answer.headers), hasher.hashed - before))
    assert answers[0] == answers[1]
    assert answers[0][3] == 1
    old = {"email": api.owner.email, "password": api.owner.password}
    assert (await api.stranger().post("/api/v1/session", json=old)).status_code == 201
    stolen = {"email": api.owner.email, "password": ANN["password"]}
    assert (await api.stranger().post("/api/v1/session", json=stolen)).status_code == 401


@open_to_all
async def test_passwords_of_new_users_are_hashed_where_they_hold_up_no_other_decision(
    empty_api: ApiCorner, hasher: CountingHasher, set_up_code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, hash_password = [], hasher.hash

    def hash_here(password: str | bytes) -> str:
        threads.append(threading.current_thread().name)
        return hash_password(password)

    monkeypatch.setattr(hasher, "hash", hash_here)
    person = empty_api.stranger()
    first = await person.post("/api/v1/set-up", json=ANN | {"code": set_up_code})
    assert first.status_code == 201
    assert (await empty_api.stranger().post("/api/v1/users", json=ANN | {"email": "b@x.example"})).status_code == 202
    change = {"json": {"password": "another long password"}, "headers": {"X-CSRF-Token": first.json()["csrf_token"]}}
    assert (await person.put("/api/v1/account/password", **change)).status_code == 204
    assert len(threads) == 3
    assert all(name.startswith("passwords") for name in threads)


@pytest.mark.parametrize("protection", ["closed"], indirect=True)
@pytest.mark.long_on_stack
async def test_closed_is_closed_even_with_an_invitation(api: ApiCorner) -> None:
    invited = api.members.application.tenancy.invite(api.owner.tenant_id, "viewer", api.members.cause()).token
    answer = await api.stranger().post("/api/v1/users", json=ANN | {"invitation": invited})
    assert kind_of(answer) == (403, "sign-up-closed")


@open_to_all
@pytest.mark.long_on_stack
async def test_nobody_sets_what_is_not_theirs_to_set(api: ApiCorner) -> None:
    """Mass assignment."""
    for more in ({"admin": True}, {"role": "owner"}, {"tenant_id": api.owner.tenant_id}, {"user_id": "x"}):
        assert kind_of(await api.stranger().post("/api/v1/users", json=ANN | more)) == (422, "invalid-parameter")
    for wrong in ({"password": "short"}, {"name": "a\r\nb"}, {"email": "x"}, {"name": 5}):
        answer = await api.stranger().post("/api/v1/users", json=ANN | wrong)
        assert kind_of(answer) == (422, "invalid-parameter")
        assert "a very long password" not in answer.text
