"""Whether the API and what it needs are well: health, readiness, metrics."""

from __future__ import annotations

import asyncio
import time

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples
from api.asking import Asker, AskerOrNobody
from api.metrics import CONTENT_TYPE, joined_metrics
from api.once import KeptFor
from api.problems import RETRY_AFTER_S
from api.schemas import Health, Readiness, json_answer, problem_responses
from api.services import JsonBytes, Probe, Services
from domain.lifecycle.policy import grants_on_site, permits

PROBE_TIMEOUT_S = 3.0
KEPT_FOR_S = 1.0


def service_routes(services: Services) -> APIRouter:
    """`/healthz`, `/readyz`, `/metrics`."""
    router = APIRouter(tags=["service"])

    async def probe_all() -> list[dict[str, object]]:
        return await asyncio.gather(*(_probe(name, probe) for name, probe in services.probes.items()))

    states_now = KeptFor(probe_all, KEPT_FOR_S)

    @router.get(
        "/healthz",
        summary="The process runs",
        response_class=JsonBytes,
        responses={200: json_answer(Health, examples.HEALTH), **problem_responses(429)},
    )
    async def get_health() -> Response:
        return JsonBytes(b'{"status":"ok"}')

    @router.get(
        "/readyz",
        summary="Whether every dependency answers; for the site's admins each one with its latency",
        response_class=JsonBytes,
        responses={
            200: json_answer(Readiness, examples.READINESS),
            503: {"description": "One is away", "model": Readiness},
            **problem_responses(429),
        },
    )
    async def get_readiness(asker: AskerOrNobody) -> Response:
        states = await states_now.get()
        ready = all(state["ok"] for state in states)
        access = services.deciding.access
        shows_all = asker is not None and permits(asker, "site.metrics", grants_on_site(access, asker))
        document = {"status": "ready" if ready else "unavailable", "dependencies": states if shows_all else []}
        headers = {} if ready else {"Retry-After": str(RETRY_AFTER_S)}
        return JsonBytes(msgspec.json.encode(document), 200 if ready else 503, headers)

    @router.get(
        "/metrics",
        summary="Prometheus: the API's families, then the bridge's and the projector's",
        response_class=Response,
        responses={
            200: {"description": "Text format 0.0.4", "content": {"text/plain": {}}},
            **problem_responses(401, 403, 429),
        },
    )
    async def get_metrics(request: Request, asker: Asker) -> Response:
        await services.deciding.allow_site(request, asker, "site.metrics")
        return Response(await joined_metrics(services.metrics_sources), headers={"Content-Type": CONTENT_TYPE})

    return router


async def _probe(name: str, probe: Probe) -> dict[str, object]:
    started_at = time.perf_counter()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            ok, detail = True, await probe()
    except TimeoutError:
        ok, detail = False, f"no answer within {PROBE_TIMEOUT_S:g} s"
    except Exception as error:
        ok, detail = False, str(error)[:300] or type(error).__name__
    latency_ms = round((time.perf_counter() - started_at) * 1000, 2)
    return {"name": name, "ok": ok, "latency_ms": latency_ms, "detail": detail}
