"""Accounts: signing up and in, passwords, API tokens, and being forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

import pytest
from eventsourcing.persistence import OperationalError

from domain.errors import DependencyUnavailable, InvalidInput, Missing, RuleBroken
from domain.lifecycle.claim import FirstUser, claim
from domain.lifecycle.site import SITE_ID, Site
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.tokens import token_sha256
from domain.lifecycle.users import User
from tests.unit.lifecycle_parts import NOW, Parts, cause, forget


def test_the_first_user_of_all_becomes_the_admin_and_no_later_one() -> None:
    parts = Parts()
    first, _ = parts.sign_up("ann")
    second, _ = parts.sign_up("bob")
    assert parts.access().admins == {first}
    assert second in parts.access().users


def test_a_password_lets_in_its_user_and_no_other() -> None:
    parts = Parts()
    ann, _ = parts.sign_up("ann")
    assert parts.accounts.authenticate("  ANN@Example.org ", "ann's long password") == ann
    assert parts.accounts.authenticate("ann@example.org", "bob's long password") is None
    assert parts.accounts.authenticate("nobody@example.org", "ann's long password") is None


def test_an_unknown_name_costs_as_much_work_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    parts.sign_up("ann")
    checked: list[str] = []
    matches = parts.accounts._matches
    monkeypatch.setattr(
        parts.accounts, "_matches", lambda stored, given: checked.append(given) or matches(stored, given)
    )
    parts.accounts.authenticate("ann@example.org", "wrong password")
    parts.accounts.authenticate("nobody@example.org", "wrong password")
    assert checked == ["wrong password"] * 2


def test_nothing_personal_and_no_password_stands_in_the_events() -> None:
    parts = Parts()
    parts.sign_up("ann")
    stored = parts.stored()
    assert b"ann" not in stored
    assert b"argon2" not in stored


def test_an_email_belongs_to_one_user_and_a_refused_sign_up_leaves_nothing() -> None:
    parts = Parts()
    ann, _ = parts.sign_up("ann")
    keys = dict(parts.keys.keys)
    with pytest.raises(RuleBroken, match="somebody else"):
        parts.sign_up("ann")
    assert parts.keys.keys == keys
    assert set(parts.access().users) == {ann}
    assert parts.accounts.authenticate("ann@example.org", "ann's long password") == ann


@pytest.mark.parametrize("commits", [True, False])
def test_a_sign_up_whose_answer_is_lost_leaves_a_whole_account_or_none(
    monkeypatch: pytest.MonkeyPatch, commits: bool
) -> None:
    parts = Parts()
    insert = parts.lifecycle.recorder.insert_events

    def insert_without_answer(*events: Any, **kwargs: Any) -> None:
        if commits:
            insert(*events, **kwargs)
        raise OperationalError("connection lost")

    with monkeypatch.context() as broken:
        broken.setattr(parts.lifecycle.recorder, "insert_events", insert_without_answer)
        with pytest.raises(DependencyUnavailable, match="connection lost"):
            parts.sign_up("ann")
    signed_in = parts.accounts.authenticate("ann@example.org", "ann's long password")
    assert (signed_in is not None) is commits
    assert parts.access().users.keys() == ({signed_in} if commits else set())
    assert len(parts.keys.names) == int(commits)


def test_a_sign_up_that_nobody_can_look_up_keeps_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    insert, recorder = parts.lifecycle.recorder.insert_events, parts.lifecycle.recorder

    def lose_connection(*_: Any, **__: Any) -> NoReturn:
        raise OperationalError("connection lost")

    def insert_and_go_away(*events: Any, **kwargs: Any) -> None:
        insert(*events, **kwargs)
        broken.setattr(recorder, "select_events", lose_connection)
        lose_connection()

    with monkeypatch.context() as broken:
        broken.setattr(recorder, "insert_events", insert_and_go_away)
        with pytest.raises(DependencyUnavailable):
            parts.sign_up("ann")
    assert parts.accounts.authenticate("ann@example.org", "ann's long password") in parts.access().users


@pytest.mark.parametrize("password", ["short", "x" * 201])
def test_a_password_of_a_wrong_length_is_refused(password: str) -> None:
    parts = Parts()
    ann, _ = parts.sign_up("ann")
    with pytest.raises(InvalidInput, match="10 to 200"):
        parts.accounts.change_password(ann, password, cause())
    assert parts.accounts.is_password(ann, "ann's long password")


def test_a_new_password_replaces_the_old_one() -> None:
    parts = Parts()
    ann, _ = parts.sign_up("ann")
    parts.accounts.change_password(ann, "another long password", cause())
    assert parts.accounts.authenticate("ann@example.org", "ann's long password") is None
    assert parts.accounts.authenticate("ann@example.org", "another long password") == ann


def test_a_changed_email_frees_the_old_one() -> None:
    parts = Parts()
    ann, _ = parts.sign_up("ann")
    parts.accounts.change_email(ann, "anna@example.org", cause())
    assert parts.accounts.authenticate("anna@example.org", "ann's long password") == ann
    parts.sign_up("ann")


def test_an_api_token_is_known_by_its_hash_until_it_is_revoked() -> None:
    parts = Parts()
    ann, _ = parts.sign_up("ann")
    until = NOW + timedelta(days=30)
    issued = parts.accounts.issue_api_token(ann, cause(), label="script", scope="read", expires_at=until)
    known = parts.access().api_tokens[token_sha256(issued.token)]
    assert (known.user_id, known.scope, known.expires_at) == (ann, "read", until)
    assert issued.token.encode() not in parts.stored()
    parts.accounts.revoke_api_token(ann, issued.token_id, cause())
    assert parts.access().api_tokens == {}
    with pytest.raises(Missing):
        parts.accounts.revoke_api_token(ann, issued.token_id, cause())


def test_an_api_token_lives_at_most_a_year() -> None:
    parts = Parts()
    ann, _ = parts.sign_up("ann")
    with pytest.raises(RuleBroken, match="365 days"):
        parts.accounts.issue_api_token(ann, cause(), label="x", scope="read", expires_at=NOW + timedelta(days=366))
    with pytest.raises(RuleBroken, match="past"):
        parts.accounts.issue_api_token(ann, cause(), label="x", scope="read", expires_at=NOW)


def test_a_forgotten_user_can_do_nothing_and_is_nowhere_readable() -> None:
    parts = Parts()
    admin, _ = parts.sign_up("admin")
    ann, tenant = parts.sign_up("ann")
    parts.accounts.grant_admin(ann, cause())
    before = parts.access().users[ann]
    until = NOW + timedelta(days=1)
    parts.accounts.issue_api_token(ann, cause(), label="script", scope="manage", expires_at=until)
    forget(parts, ann)
    access = parts.access()
    assert ann not in access.users
    assert access.api_tokens == {}
    assert access.admins == {admin}
    assert access.tenants[tenant].members == {}
    assert parts.accounts.authenticate("ann@example.org", "ann's long password") is None
    assert parts.personal.open(f"user:{ann}", "name", before.name_sealed) is None
    parts.sign_up("ann")


def test_a_forgotten_user_becomes_neither_admin_nor_member_even_at_the_same_time() -> None:
    parts = Parts()
    admin, tenant = parts.sign_up("admin")
    ann, _ = parts.sign_up("ann")
    invitation_id = parts.tenancy.invite(tenant, "owner", cause()).invitation_id
    grants: list[Callable[[str], int]] = [
        lambda user_id: parts.accounts.grant_admin(user_id, cause()),
        lambda user_id: parts.tenancy.add_member(tenant, user_id, "owner", cause()),
        lambda user_id: parts.tenancy.accept(tenant, invitation_id, user_id, cause()),
    ]
    forget(parts, ann)
    for grant in grants:
        with pytest.raises(Missing):
            grant(ann)
    load = parts.lifecycle.load

    def load_slowly(kind: Any, aggregate_id: UUID) -> Any:
        found = load(kind, aggregate_id)
        if kind is User:
            parts.lifecycle.load = load  # type: ignore[method-assign]
            forget(parts, bob)
        return found

    for grant in grants:
        bob, _ = parts.sign_up("bob")
        parts.lifecycle.load = load_slowly  # type: ignore[method-assign]
        with pytest.raises(Missing):
            grant(bob)
        assert bob not in parts.access().users
    assert parts.lifecycle.load(Site, SITE_ID).admins == [admin]
    assert parts.lifecycle.load(Tenant, UUID(tenant)).members == {admin: "owner"}


def test_an_admin_whom_an_earlier_version_made_after_being_forgotten_is_none() -> None:
    parts = Parts()
    admin, _ = parts.sign_up("admin")
    ann, _ = parts.sign_up("ann")
    forget(parts, ann)
    parts.lifecycle.change(Site, SITE_ID, lambda site: site.grant_admin(ann, cause()))
    assert parts.access().admins == {admin}


def test_a_forgotten_user_stays_forgotten() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, _ = parts.sign_up("ann")
    departure = parts.plan_departure(ann)
    forget(parts, ann)
    with pytest.raises(Missing):
        parts.carry_out(departure)
    with pytest.raises(Missing):
        parts.accounts.rename(ann, "Ann", cause())


def test_whoever_signs_up_with_an_invitation_is_a_member_with_the_same_commit() -> None:
    parts = Parts()
    _, tenant = parts.sign_up("ann")
    invitation_id = parts.tenancy.invite(tenant, "viewer", cause()).invitation_id
    before = len(parts.lifecycle.recorder.select_notifications(1, 100))

    def join(user_id: str) -> list[Tenant]:
        joined = parts.tenancy.accepted(tenant, invitation_id, user_id, cause())
        if not tries:
            # Somebody else changes the tenant meanwhile.
            parts.tenancy.rename(tenant, "Ann's house", cause())
        tries.append(user_id)
        return [joined]

    tries: list[str] = []
    made = parts.accounts.sign_up(
        cause(), email="b@x.org", name="Bob", password="a long password", tenant_name=None, joining=join
    )
    assert tries == [made.user_id] * 2
    assert parts.access().tenants[tenant].members[made.user_id] == "viewer"
    assert len(parts.lifecycle.recorder.select_notifications(1, 100)) == before + 3


def test_an_invitation_that_was_used_meanwhile_leaves_no_user_and_no_name() -> None:
    parts = Parts()
    ann, tenant = parts.sign_up("ann")
    invitation_id = parts.tenancy.invite(tenant, "viewer", cause()).invitation_id
    parts.tenancy.revoke_invitation(tenant, invitation_id, cause())
    with pytest.raises(Missing):
        parts.accounts.sign_up(
            cause(),
            email="b@x.org",
            name="Bob",
            password="a long password",
            tenant_name=None,
            joining=lambda user_id: [parts.tenancy.accepted(tenant, invitation_id, user_id, cause())],
        )
    assert set(parts.access().users) == {ann}
    assert set(parts.keys.names.values()) == {ann}


def test_the_second_to_claim_an_installation_becomes_nobody() -> None:
    parts = Parts()
    demo, _ = parts.tenancy.found(cause(), name="Demo", owner_id=None)
    ada = FirstUser("ada@example.org", "Ada", "Ada's long password")
    eve = FirstUser("eve@example.org", "Eve", "Eve's long password")
    ada_id = claim(parts.accounts, parts.tenancy, [demo], ada, cause())
    with pytest.raises(RuleBroken, match="already"):
        claim(parts.accounts, parts.tenancy, [demo], eve, cause())
    access = parts.access()
    assert (set(access.users), access.admins, access.tenants[demo].members) == ({ada_id}, {ada_id}, {ada_id: "owner"})
