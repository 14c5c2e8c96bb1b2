"""How often anybody may ask: shares of a window, what is given back, and what the answers say."""

from __future__ import annotations

import asyncio

import pytest

from api.protection import RATE_LIMITS, Protection
from tests.contract.api.corner import ApiCorner


@pytest.fixture
def protection() -> Protection:
    return Protection(rate_limits={**RATE_LIMITS, "tokens": "600/minute", "users": "20/minute"})


@pytest.mark.parametrize(("who", "amount"), [("tokens", 600), ("users", 20)])
async def test_of_many_at_once_exactly_the_limit_passes(api: ApiCorner, who: str, amount: int) -> None:
    limits = api.services.rate_limits
    for _ in range(2):
        standings = await asyncio.gather(*(limits.count(who, "somebody") for _ in range(700)))  # type: ignore[arg-type]
        assert sum(one.allowed for one in standings) == amount
        amount = 0
