"""Awaiting what a cancellation must not get into."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

R = TypeVar("R")

_WITHIN_S = 2.0


async def undisturbed(work: Awaitable[R]) -> R:
    """What `work` returns. If the caller is cancelled, `work` gets a moment to end before that goes on.

    For libraries that leave a request behind when they are cancelled, or that swallow the cancellation because they
    take it for that of a task of their own.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_WITHIN_S)
        task.cancel()
        raise
