"""Text that no column of ASCII can hold finds nothing on every database, and only a database that is away is away."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from api.cursors import encode_cursor
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner
from tests.contract.api.test_dead_letters import add_letters

ELSEWHERE = "Zürich ⏰"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("audit", ("actor", "subject", "tenant_id", "action", "correlation_id")),
        ("dead-letters", ("device", "reason")),
    ],
)
async def test_what_nothing_is_called_finds_an_empty_page(api: ApiCorner, path: str, names: tuple[str, ...]) -> None:
    add_letters(api, 3)
    api.project()
    assert (await api.get(path))["items"]
    for name in names:
        for value in (ELSEWHERE, f"{ELSEWHERE}:{ELSEWHERE}"):
            assert await api.get(path, **{name: value}) == {"items": [], "next_cursor": None}, name


async def test_no_dead_letter_stands_in_a_topic_that_cannot_be(api: ApiCorner) -> None:
    assert (await api.get(f"dead-letters/{ELSEWHERE}/0/0/raw", status=404))["type"] == "/problems/not-found"


async def test_a_cursor_that_was_never_given_out_is_refused(api: ApiCorner) -> None:
    api.add_device("kettle")
    for path, keys in (
        ("audit", (NOW_MS, ELSEWHERE, 1)),
        ("dead-letters", (NOW_MS, ELSEWHERE, 0, 0)),
        ("devices/kettle/commands", (NOW_MS, ELSEWHERE)),
        ("firmware", (NOW_MS, ELSEWHERE)),
    ):
        problem = await api.get(path, status=422, cursor=encode_cursor(keys))
        assert problem["errors"][0]["parameter"] == "cursor", path


async def test_a_question_that_no_database_takes_is_a_defect_and_no_outage(api: ApiCorner) -> None:
    def nonsense(connection: Connection) -> None:
        connection.execute(text("SELECT nonsense FROM FROM"))

    with pytest.raises(DBAPIError):
        await api.services.database.ask(nonsense)


@pytest.mark.parametrize(
    "half_migrated", ["DROP TABLE dead_letters", "ALTER TABLE dead_letters RENAME COLUMN detail TO earlier_detail"]
)
async def test_a_database_that_is_not_migrated_is_out_of_reach(api: ApiCorner, half_migrated: str) -> None:
    with api.engine.begin() as connection:
        connection.execute(text(half_migrated))
    answer: httpx.Response = await api.client.get("/api/v1/dead-letters")
    assert (answer.status_code, answer.json()["dependency"]) == (503, "database")
