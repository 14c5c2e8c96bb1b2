"""How often anybody may ask: shares of a window, what is given back, and what the answers say."""

from __future__ import annotations

import asyncio

import pytest

from api.lockout import FREE_ATTEMPTS
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


@pytest.mark.parametrize("protection", [Protection(rate_limits={**RATE_LIMITS, "sign-up": "2/hour"})])
async def test_sharing_with_nobody_is_counted_and_no_refusal_tells_whose_email_it_was(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    bob = api.members.sign_up("bob")

    async def share(email: str) -> int:
        body = {"email": email, "permission": "view"}
        return (await api.client.post("/api/v1/devices/kettle/shares", json=body)).status_code

    statuses = [await share(email) for email in ("a@example.org", bob.email, bob.email, "b@example.org")]
    assert statuses == [202, 202, 202, 202]
    assert [await share(email) for email in ("c@example.org", bob.email)] == [429, 429]


async def test_a_refusal_says_where_one_stands_with_the_limit_that_refused(api: ApiCorner) -> None:
    body = {"email": "somebody@example.org", "password": "a wrong password"}
    first = await api.stranger().post("/api/v1/session", json=body)
    assert (first.status_code, first.headers["ratelimit-policy"]) == (401, '"strangers";q=3000;w=60')
    for _ in range(FREE_ATTEMPTS - 1):
        await api.stranger().post("/api/v1/session", json=body)
    locked_out = await api.stranger().post("/api/v1/session", json=body)
    assert (locked_out.status_code, locked_out.json()["type"]) == (429, "/problems/locked-out")
    assert locked_out.headers["ratelimit"] == f'"locked-out";r=0;t={locked_out.headers["retry-after"]}'
    assert "ratelimit-policy" not in locked_out.headers
    for _ in range(20):
        refused = await api.stranger().post("/api/v1/session", json=body)
    assert refused.json()["type"] == "/problems/too-many-requests"
    assert refused.headers["ratelimit-policy"] == '"sign-in";q=20;w=60'
    assert refused.headers["ratelimit"] == f'"sign-in";r=0;t={refused.headers["retry-after"]}'


@pytest.mark.parametrize(
    "protection",
    [Protection(rate_limits={**RATE_LIMITS, "strangers": "3/minute"}, cors_origins=("https://pages.example",))],
)
async def test_what_browsers_ask_before_a_page_may_ask_counts(api: ApiCorner) -> None:
    asks = {"Origin": "https://pages.example", "Access-Control-Request-Method": "GET"}
    answers = [await api.stranger().options("/api/v1/devices", headers=asks) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 429, 429]
    assert answers[0].headers["ratelimit"].startswith('"strangers";r=1;')
