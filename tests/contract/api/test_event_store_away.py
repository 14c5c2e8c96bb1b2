"""Rights that nobody could read lately are not trusted: the API that has lost the event store says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from api.live_viewer import TRY_LATER
from api.protection import Protection
from ops.application import Application
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner, reading
from tests.contract.api.members import CountingHasher, bearer, cheap_application
from tests.contract.api.test_live import hear, live_url, until_following
from tests.servers import World

HOLD_FOR_S = 3.0
LATEST = "/api/v1/devices/kettle/latest"


@pytest.fixture
def world(embedded_world: World) -> World:
    """The event store is a file here, which can be put out of this API's reach alone."""
    return embedded_world


@pytest.fixture
def protection() -> Protection:
    return Protection(rights_hold_for_s=HOLD_FOR_S)


@pytest.fixture
def way(world: World, tmp_path: Path) -> Path:
    """The API's own way to the folder of the event store."""
    way = tmp_path / "way"
    way.symlink_to(folder_of(world))
    return way


@pytest.fixture
def application(world: World, hasher: CountingHasher, way: Path) -> Iterator[Application]:
    settings = world.settings_with(event_store_url=f"sqlite:///{way / 'events.db'}")
    with cheap_application(settings, hasher) as application:
        yield application


def folder_of(world: World) -> Path:
    return Path(world.settings.resolved_event_store_url().removeprefix("sqlite:///")).parent


def lose(application: Application, way: Path) -> None:
    """Nothing opens the event store this way any more."""
    way.unlink()
    for engine in (application.database._reading, application.database._writing):
        engine.dispose()


async def until_status(client: httpx.AsyncClient, path: str, status: int) -> httpx.Response:
    deadline = time.monotonic() + 20
    while (answer := await client.get(path)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(0.05)
    return answer


async def test_without_the_event_store_a_right_holds_for_a_few_seconds_and_no_longer(
    api: ApiCorner, application: Application, world: World, way: Path
) -> None:
    api.add_device("kettle")
    api.add_readings("kettle", [reading(NOW_MS, 1)])
    await api.show_latest("kettle")
    await api.services.deciding.follower.catch_up()
    await until_following(api)
    async with (
        httpx.AsyncClient(base_url=api.base_url, headers=bearer(api.token), timeout=30) as program,
        connect(live_url(api), additional_headers=bearer(api.token)) as viewer,
    ):
        await hear(viewer)
        lose(application, way)
        assert (await program.get(LATEST)).status_code == 200
        [known] = api.services.deciding.access.api_tokens.values()
        with cheap_application(world.settings, CountingHasher()) as elsewhere:
            elsewhere.accounts.revoke_api_token(api.owner.user_id, known.token_id, api.members.cause())
        refused = await until_status(program, LATEST, 503)
        assert refused.json()["dependency"] == "event store"
        assert int(refused.headers["retry-after"]) > 0
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(5):
                while True:
                    await viewer.recv()
        goodbye = closed.value.rcvd
        assert goodbye is not None
        assert (goodbye.code, goodbye.reason) == (TRY_LATER, "nobody knows at the moment what you may see")
        readiness = await program.get("/readyz")
        states = {one["name"]: one["ok"] for one in readiness.json()["dependencies"]}
        assert (readiness.status_code, states["event store"]) == (503, False)
        assert (await program.get("/healthz")).status_code == 200
        way.symlink_to(folder_of(world))
        await until_status(program, LATEST, 401)
        await until_status(program, "/readyz", 200)
