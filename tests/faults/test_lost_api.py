"""The API may die while it answers: who asks again under the same key has one command, and it is done once."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ops.child import Child
from tests.command_run import a_plug, commanding, until
from tests.faults.doomed_api import STEPS
from tests.owner import owner_headers
from tests.servers import World

_ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.faults


def _ask(world: World, path: str, headers: Mapping[str, str], body: Any = None) -> Any:
    url = f"http://127.0.0.1:{world.settings.api_port}/api/v1{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as problem:
        raise AssertionError(problem.read()) from None


def _doomed(world: World, step: str) -> Child:
    whole = world.role("api").spec
    argv = [sys.executable, "-m", "tests.faults.doomed_api", step]
    return Child(replace(whole, argv=argv, env={**whole.env, "PYTHONPATH": str(_ROOT)}))


@pytest.mark.long
async def test_a_command_asked_for_again_after_the_api_died_is_done_once(world: World) -> None:
    device_id = world.device_id("plug")
    async with commanding(world) as commands, AsyncExitStack() as stack:
        for role in ("projector", "dispatcher"):
            world.start_role(role)
        api = world.start_role("api")
        headers = await asyncio.to_thread(owner_headers, world, [device_id], scope="control")
        plug = await stack.enter_async_context(a_plug(world))
        await asyncio.to_thread(api.stop)
        done: list[str] = []
        for step in STEPS:
            doomed = _doomed(world, step)
            stack.callback(doomed.kill)
            await asyncio.to_thread(doomed.start)
            ask = (
                world,
                f"/devices/{device_id}/commands",
                {**headers, "Idempotency-Key": step.replace(" ", "-")},
                {"type": "toggle"},
            )
            with pytest.raises((OSError, HTTPException)):
                await asyncio.to_thread(_ask, *ask)
            await until(lambda doomed=doomed: not doomed.is_running())  # type: ignore[misc]
            assert doomed.exit_code() == -signal.SIGKILL, doomed.last_words()
            await asyncio.to_thread(api.start)
            command = await asyncio.to_thread(_ask, *ask)
            assert (await asyncio.to_thread(_ask, *ask)) == command
            ended = await commands.ended(UUID(command["command_id"]))
            assert ended.state == "acknowledged", commands.events(ended.id)
            done.append(command["command_id"])
            await asyncio.to_thread(api.stop)
        assert [str(command_id) for command_id in plug.acted_ids] == done
        assert [commands.events(command_id) for command_id in plug.acted_ids] == [
            ["requested", "dispatched", "acknowledged"]
        ] * len(STEPS)
