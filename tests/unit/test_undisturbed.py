"""What must not be broken off is not, and whoever was cancelled meanwhile is."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from projections.undisturbed import undisturbed


async def test_the_result_and_the_error_are_those_of_the_work() -> None:
    async def fail() -> None:
        raise LookupError("none")

    assert await undisturbed(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(LookupError, match="none"):
        await undisturbed(fail())


async def test_a_cancellation_waits_for_the_work_and_goes_on_though_the_work_swallows_them() -> None:
    ended = asyncio.Event()

    async def swallow() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
        ended.set()

    task = asyncio.create_task(undisturbed(swallow()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_work_without_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.undisturbed._WITHIN_S", 0.02)
    endless = asyncio.create_task(asyncio.sleep(3600))
    task = asyncio.create_task(undisturbed(endless))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task, endless}, timeout=5)
    assert task.cancelled()
    assert endless.cancelled()
