"""What tests ask the running chain again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from httpx import AsyncClient

from tests.full_chain import ask


def audited(admin: AsyncClient, wanted: Callable[[list[Any]], bool], **filters: Any) -> Callable[[], Awaitable[Any]]:
    """The audit records, once they are as wanted."""

    async def look() -> Any:
        items = (await ask(admin, "GET", "audit", 200, params={"limit": 500, **filters}))["items"]
        return items if wanted(items) else None

    return look


def saying(*actions: str) -> Callable[[list[Any]], bool]:
    return lambda items: {one["action"] for one in items} >= set(actions)


def one_of(records: list[Any], action: str) -> Any:
    """The newest of this kind."""
    return next(one for one in records if one["action"] == action)


async def in_pages(client: AsyncClient, path: str, limit: int, **filters: Any) -> list[Any]:
    """All items, asked for page by page."""
    items: list[Any] = []
    cursor = None
    while True:
        more: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        page = await ask(client, "GET", path, 200, params={"limit": limit, **filters, **more})
        assert len(page["items"]) <= limit
        items += page["items"]
        if (cursor := page["next_cursor"]) is None:
            return items


async def whole_audit(admin: AsyncClient, media_type: str = "application/x-ndjson") -> str:
    answer = await admin.get("/api/v1/audit", headers={"Accept": media_type})
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith(media_type)
    return answer.text
