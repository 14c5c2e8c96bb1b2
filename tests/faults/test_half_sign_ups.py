"""The API may die while somebody signs up: there is a whole user or none, and the email is free or theirs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from domain.lifecycle.access import Access
from domain.lifecycle.cause import system_cause
from ops.application import Application, open_application
from ops.child import Child
from ops.set_up_code import drop_set_up_code, new_set_up_code
from ops.wiring import migrate
from tests.command_run import until
from tests.servers import World

_ROOT = Path(__file__).parents[2]
PASSWORD = "a very long password"

pytestmark = [pytest.mark.faults, pytest.mark.long_on_stack]


def post(world: World, path: str, body: Any) -> None:
    url = f"http://127.0.0.1:{world.settings.api_port}/api/v1{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=20).close()
    except urllib.error.HTTPError as problem:
        raise AssertionError(problem.read()) from None


async def post_to_the_doomed(world: World, step: str, path: str, body: Any) -> None:
    """Ask an API that dies at this step."""
    whole = world.role("api").spec
    argv = [sys.executable, "-m", "tests.faults.doomed_api", step]
    doomed = Child(replace(whole, argv=argv, env={**whole.env, "PYTHONPATH": str(_ROOT)}))
    try:
        await asyncio.to_thread(doomed.start)
        with pytest.raises((OSError, HTTPException)):
            await asyncio.to_thread(post, world, path, body)
        await until(lambda: not doomed.is_running())
        assert doomed.exit_code() == -signal.SIGKILL, doomed.last_words()
    finally:
        doomed.kill()


def access_of(application: Application) -> Access:
    access = Access()
    for notification in application.lifecycle.log_recorder.select_notifications(None, 1000):
        access.apply(application.lifecycle.mapper.to_domain_event(notification))
    return access


@pytest.fixture
def application(world: World) -> Iterator[Application]:
    migrate(world.settings)
    with open_application(world.settings) as application:
        yield application


async def test_a_set_up_that_was_cut_off_is_whole_or_can_be_done_again(world: World, application: Application) -> None:
    demo, _ = application.tenancy.found(system_cause("test", datetime.now(UTC)), name="Demo", owner_id=None)
    code = new_set_up_code(world.settings.data_dir)
    ada = {"email": "ada@example.org", "name": "Ada", "password": PASSWORD, "code": code}
    try:
        await post_to_the_doomed(world, "to be stored", "/set-up", ada)
        assert not access_of(application).users
        await post_to_the_doomed(world, "stored", "/set-up", ada)
    finally:
        drop_set_up_code(world.settings.data_dir)
    access = access_of(application)
    (ada_id,) = access.users
    assert (access.admins, access.tenants[demo].members) == ({ada_id}, {ada_id: "owner"})
    assert application.accounts.authenticate(ada["email"], PASSWORD) == ada_id


async def test_a_sign_up_that_was_cut_off_is_whole_or_can_be_done_again(world: World, application: Application) -> None:
    cause = system_cause("test", datetime.now(UTC))
    made = application.accounts.sign_up(cause, email="o@x.org", name="Olga", password=PASSWORD, tenant_name="Olga's")
    assert made.tenant_id is not None
    for step, is_there in (("to be stored", False), ("stored", True)):
        email = f"{step.replace(' ', '-')}@example.org"
        invited = application.tenancy.invite(made.tenant_id, "viewer", cause)
        ben = {"email": email, "name": "Ben", "password": PASSWORD, "invitation": invited.token}
        before = len(access_of(application).users)
        await post_to_the_doomed(world, step, "/users", ben)
        access = access_of(application)
        assert len(access.users) == len(access.tenants[made.tenant_id].members) == before + is_there
        assert bool(access.invitations) is not is_there
        if not is_there:
            join = partial(application.tenancy.accepted, made.tenant_id, invited.invitation_id, cause=cause)
            application.accounts.sign_up(
                cause,
                email=email,
                name="Ben",
                password=PASSWORD,
                tenant_name=None,
                joining=lambda user_id, join=join: [join(user_id)],  # type: ignore[misc]
            )
        ben_id = application.accounts.authenticate(email, PASSWORD)
        assert access_of(application).tenants[made.tenant_id].members[str(ben_id)] == "viewer"
