"""Dead letters: newest first, filtered, paged, and their bytes exactly as they came."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from api.schemas import DeadLetter, Page
from projections.tables import read_model
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner


def add_letters(api: ApiCorner, count: int, **more: Any) -> None:
    rows = [
        {
            "log_topic": "readings" if n % 7 == 0 else "dead-letters",
            "log_partition": n % 3,
            "log_offset": n,
            "received_at_ms": NOW_MS - 1000 * (n // 4),
            "device_id": f"socket-{n % 2}",
            "boot": None,
            "seq": None,
            "reason": "clock_ahead" if n % 5 else "not_json",
            "detail": "`at` is too far ahead — ⏰",
            "origin": f"mqtt:devices/socket-{n % 2}/data",
            "raw": bytes([n % 256, 0, 255]),
            **more,
        }
        for n in range(count)
    ]
    with api.engine.begin() as connection:
        connection.execute(insert(read_model().dead_letters), rows)


async def pages(api: ApiCorner, **parameters: Any) -> list[dict[str, Any]]:
    items, cursor = [], ""
    while cursor is not None:
        answer = await api.get("dead-letters", **parameters, **({"cursor": cursor} if cursor else {}))
        Page[DeadLetter].model_validate(answer)
        items, cursor = items + answer["items"], answer["next_cursor"]
    return items


async def test_pages_hold_every_letter_once_newest_first(api: ApiCorner) -> None:
    add_letters(api, 50)
    items = await pages(api, limit=7)
    keys = [(item["received_at"], item["topic"], item["partition"], item["offset"]) for item in items]
    assert keys == sorted(keys, reverse=True)
    assert len(set(keys)) == 50


async def test_filters_choose_device_reason_and_time(api: ApiCorner) -> None:
    add_letters(api, 40)
    chosen = await pages(api, device="socket-1", reason="not_json")
    assert {item["offset"] for item in chosen} == {5, 15, 25, 35}
    recent = await pages(api, **{"from": "-2s", "to": "now"})
    assert {item["offset"] for item in recent} == set(range(4, 12))


async def test_the_raw_bytes_are_downloaded_unchanged_and_never_shown_as_a_page(api: ApiCorner) -> None:
    script = b"<script>alert(1)</script>\x00\xff"
    add_letters(api, 1, raw=script)
    (item,) = await pages(api)
    assert item["raw_bytes"] == len(script)
    answer = await api.client.get(item["raw_url"])
    assert answer.content == script
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert (await api.client.get("/api/v1/dead-letters/dead-letters/0/99/raw")).status_code == 404
