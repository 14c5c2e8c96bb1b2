"""Every error is an RFC 9457 problem document, and says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.cursors import encode_cursor
from api.schemas import Problem
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner, reading
from tests.contract.api.members import bearer
from tests.contract.api.stranded import stranded_app
from tests.servers import World


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


WRONG = [
    ("GET", "/nowhere", 404),
    ("GET", "/page/../app.py", 404),
    ("GET", "/page/nothing.js", 404),
    ("POST", "/api/v1/devices", 405),
    ("DELETE", "/api/v1/devices", 405),
    ("GET", "/api/v1/devices/bad%20id", 422),
    ("GET", "/api/v1/devices?limit=0", 422),
    ("GET", "/api/v1/devices?limit=many", 422),
    ("GET", "/api/v1/devices?cursor=%25%25", 422),
    ("GET", "/api/v1/devices?cursor=" + "A" * 400, 422),
    ("GET", "/api/v1/latest", 422),
    ("GET", "/api/v1/latest?device=a%2Fb", 422),
    ("GET", "/api/v1/devices/x/readings?resolution=2m", 422),
    ("GET", "/api/v1/devices/x/readings?from=yesterday", 422),
    ("GET", "/api/v1/devices/x/readings?from=2026-10-26T09:00:00", 422),
    ("GET", "/api/v1/devices/x/readings?from=2026-02-30T09:00:00Z", 422),
    ("GET", "/api/v1/devices/x/readings?from=1969-12-31T23:59:59Z", 422),
    ("GET", "/api/v1/devices/x/readings?from=-99999999w", 422),
    ("GET", "/api/v1/devices/x/readings?from=now&to=-1h", 422),
    ("GET", "/api/v1/devices/x/readings?cursor=" + encode_cursor(["raw", -5, 10, None]), 422),
    ("GET", "/api/v1/devices/x/readings?cursor=" + encode_cursor(["raw", 0, 10, [1, 2]]), 422),
    ("GET", "/api/v1/dead-letters?cursor=" + encode_cursor([1, "dead-letters", -1, 2]), 422),
    ("GET", "/api/v1/dead-letters/dead-letters/1/99999999999999999999/raw", 422),
    ("GET", "/api/v1/live/events?device=a.b", 422),
    ("GET", "/schemas/wattaway.nothing.v1.json", 404),
]


async def test_every_client_error_is_a_problem_document(api: ApiCorner) -> None:
    api.add_device("x")
    for method, path, status in WRONG:
        answer = await api.client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
        problem = Problem.model_validate(answer.json())
        assert problem.status == status
        assert problem.detail
        if status == 422:
            assert problem.errors, path
        if status == 405:
            assert answer.headers["allow"] == "GET"


async def test_a_client_that_wants_neither_json_nor_csv_is_told(api: ApiCorner) -> None:
    api.add_device("tv")
    api.add_readings("tv", [reading(NOW_MS - 1000, 1)])
    accepted = {
        "application/xml": 406,
        "text/csv;q=0": 406,
        "text/csv;q=x": 406,
        "text/csv, application/json;q=0.5": "text/csv; charset=utf-8",
        "*/*, text/csv": "text/csv; charset=utf-8",
        "text/html, */*;q=0.1": "application/json",
        "application/*": "application/json",
    }
    for accept, expected in accepted.items():
        answer = await api.client.get("/api/v1/devices/tv/readings", headers={"Accept": accept})
        if expected == 406:
            assert answer.status_code == 406, accept
            assert Problem.model_validate(answer.json()).type == "/problems/not-acceptable"
        else:
            assert (answer.status_code, answer.headers["content-type"]) == (200, expected), accept


async def test_the_parameter_that_is_wrong_is_named(api: ApiCorner) -> None:
    api.add_device("x")
    problem = await api.get("devices/x/readings", status=422, limit=0, resolution="hour")
    assert {error["parameter"] for error in problem["errors"]} == {"limit", "resolution"}
    problem = await api.get("devices/x/readings", status=422, to="tomorrow")
    assert problem["errors"][0]["parameter"] == "to"
    assert "tomorrow" in problem["detail"]


@pytest.fixture
async def stranded(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """An API whose database is not there, nor its Redis."""
    app, token = stranded_app(tmp_path, database_url="mysql+pymysql://nobody:secret-word@127.0.0.1:9/wattaway")
    async with _talking_to(app, token) as client:
        yield client


@asynccontextmanager
async def _talking_to(app: FastAPI, token: str) -> AsyncIterator[httpx.AsyncClient]:
    await app.state.services.deciding.follower.catch_up()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=bearer(token)) as client:
        yield client
    for one in ("views", "sessions", "feed"):
        await getattr(app.state.services, one).disconnect()
    await app.state.services.deciding.close()
    await app.state.services.database.close()


async def test_a_dependency_that_is_away_is_a_503_with_retry_after(stranded: httpx.AsyncClient) -> None:
    for path in (
        "devices",
        "devices/x",
        "devices/x/latest",
        "devices/x/readings",
        "devices/x/daily",
        "fleet",
        "dead-letters",
    ):
        answer = await stranded.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), path
        assert int(answer.headers["retry-after"]) > 0
        problem = Problem.model_validate(answer.json())
        assert problem.dependency == "database"
        assert "secret-word" not in answer.text


async def test_readiness_names_what_is_away(stranded: httpx.AsyncClient) -> None:
    answer = await stranded.get("/readyz")
    assert answer.status_code == 503
    states = {state["name"]: state for state in answer.json()["dependencies"]}
    assert not states["database"]["ok"]
    assert not states["redis"]["ok"]
    assert states["database"]["detail"]
    assert "secret-word" not in answer.text
    assert (await stranded.get("/healthz")).status_code == 200


async def test_readiness_is_200_when_everything_answers(api: ApiCorner) -> None:
    answer = await api.client.get("/readyz")
    assert answer.status_code == 200
    assert all(state["ok"] and state["latency_ms"] >= 0 for state in answer.json()["dependencies"])


async def test_however_many_ask_whether_all_is_ready_each_dependency_is_asked_once(api: ApiCorner) -> None:
    asked = []

    async def probe() -> str:
        asked.append(1)
        return "well"

    api.services.probes["counted"] = probe
    answers = await asyncio.gather(*(api.stranger().get("/readyz") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(asked) == 1


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
async def test_a_database_without_tables_is_said_to_be_away(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "none.db").write_bytes(content)
    app, token = stranded_app(tmp_path)
    async with _talking_to(app, token) as client:
        assert (await client.get("/api/v1/devices")).status_code == 503
        assert (await client.get("/readyz")).status_code == 503


async def test_a_forged_cursor_is_a_value_and_never_sql(api: ApiCorner) -> None:
    api.add_device("tv")
    forged = await api.get("devices", cursor=encode_cursor(["' OR 1=1 -- "]))
    assert [item["device_id"] for item in forged["items"]] == ["tv"]
