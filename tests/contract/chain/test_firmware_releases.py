"""Firmware through the whole chain: published over HTTP, carried to Kafka, listed from a read model that verifies."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import AsyncClient

from tests.contract.chain.asking import audited, saying
from tests.firmware.signed_images import BOARD, image
from tests.full_chain import FullChain, ask, eventually
from tests.projector_run import checked

pytestmark = [pytest.mark.embedded, pytest.mark.asyncio(loop_scope="package")]
OCTETS = {"Content-Type": "application/octet-stream"}


async def test_a_release_and_its_end_are_events_and_a_view(chain: FullChain, olga: AsyncClient) -> None:
    async def listed() -> list[Any]:
        items: list[Any] = (await ask(olga, "GET", "firmware", 200))["items"]
        return items

    published = await ask(olga, "POST", "firmware", 201, content=image(2), headers=OCTETS, params={"notes": "ü"})
    assert published["published_by"] == f"user:{chain.olga.user_id}"
    assert await eventually(listed) == [published]
    withdrawn = await ask(olga, "DELETE", f"firmware/{BOARD}/2", 200)

    async def ended() -> bool:
        return await listed() == [withdrawn]

    await eventually(ended)
    subject = f"firmware:{BOARD}"
    decided = saying("firmware-begun", "firmware-published", "firmware-withdrawn")
    assert {one["who"] for one in await eventually(audited(olga, decided, subject=subject))} == {"olga"}
    found = await checked(chain.world)
    assert found.first_difference is None, str(found)
    assert {one.table: one.rows for one in found.tables}["firmware_versions"] == 1
