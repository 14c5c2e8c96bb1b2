"""The export of an audit log that is longer than what is read of it at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Row, insert

from api.lifecycle_queries import audit_rows
from projections.tables import read_model
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner

COUNT, AT_ONCE = 2345, 1000
SAME_INSTANT = 7
"""So many records have the same instant that a page ends among them."""


def add_records(api: ApiCorner, numbers: range) -> None:
    """Records 0, 1, …, each with the key after that of the one before."""
    rows = [
        {
            "originator_id": f"{number:08}-0000-4000-8000-000000000000",
            "version": 1,
            "at_ms": NOW_MS + number // SAME_INSTANT,
            "actor": f"user:{number}",
            "correlation_id": f"deed-{number}",
            "action": "device-described",
            "subject_kind": "device",
            "subject_id": f"socket-{number % 2}",
            "before_json": "{}",
            "after_json": f'{{"number":{number}}}',
            "denied": False,
        }
        for number in numbers
    ]
    with api.engine.begin() as connection:
        connection.execute(insert(read_model().lifecycle.audit_log), rows)


def numbers_in(text: str, media_type: str) -> list[int]:
    if media_type == "text/csv":
        return [json.loads(row["after"])["number"] for row in csv.DictReader(io.StringIO(text))]
    return [json.loads(line)["after"]["number"] for line in text.splitlines()]


async def test_the_log_is_asked_for_one_action_or_one_tenant(api: ApiCorner) -> None:
    bob = api.members.sign_up("bob")
    api.members.register(bob.tenant_id, "lamp")
    api.members.register(api.owner.tenant_id, "kettle")
    api.project()

    async def found(**wanted: str) -> set[str]:
        documents = (await api.get("audit", **wanted))["items"]
        exported = await api.client.get("/api/v1/audit", params=wanted, headers={"Accept": "application/x-ndjson"})
        assert [json.loads(line) for line in exported.text.splitlines()] == documents
        return {f"{one['action']} {one['device_id']}" for one in documents if one["device_id"]}

    assert await found(action="device-registered") == {"device-registered lamp", "device-registered kettle"}
    assert await found(tenant_id=bob.tenant_id) == {"device-registered lamp"}
    assert await found(action="device-registered", tenant_id=api.owner.tenant_id) == {"device-registered kettle"}


@pytest.mark.parametrize("media_type", ["text/csv", "application/x-ndjson"])
async def test_an_export_has_every_record_once_in_order_and_holds_a_part_of_it_at_a_time(
    api: ApiCorner, media_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_records(api, range(COUNT))
    parts: list[int] = []

    def counted(*arguments: Any) -> Sequence[Row[Any]]:
        if len(parts) == 1:  # What is decided meanwhile is newer than all of the export.
            add_records(api, range(COUNT, COUNT + 50))
        rows = audit_rows(*arguments)
        parts.append(len(rows))
        return rows

    monkeypatch.setattr("api.routes.audit.audit_rows", counted)
    async with api.client.stream("GET", "/api/v1/audit", headers={"Accept": media_type}) as answer:
        assert answer.status_code == 200 and "Content-Length" not in answer.headers
        assert answer.headers["Content-Disposition"].startswith("attachment")
        text = (await answer.aread()).decode()
    assert numbers_in(text, media_type) == list(reversed(range(COUNT)))
    assert parts == [AT_ONCE + 1, AT_ONCE + 1, COUNT - 2 * AT_ONCE]


@pytest.mark.parametrize("count", [AT_ONCE, AT_ONCE + 1])
async def test_an_export_that_just_fits_a_part_ends_there(api: ApiCorner, count: int) -> None:
    add_records(api, range(2 * count))
    for media_type in ("text/csv", "application/x-ndjson"):
        answer = await api.client.get(
            "/api/v1/audit", headers={"Accept": media_type}, params={"subject": "device:socket-1"}
        )
        assert numbers_in(answer.text, media_type) == list(reversed(range(1, 2 * count, 2)))
