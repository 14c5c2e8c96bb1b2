"""What the routes answer fits what OpenAPI says, and the documents are served."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.schemas import Daily, Device, Fleet, Page, Readiness, Series
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner, reading
from tests.servers import World


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


async def test_answers_fit_their_models(api: ApiCorner) -> None:
    api.add_device("tv", online=True, presence_at_ms=NOW_MS - 60_000, boot="9f3a61c2", firmware="1.4.0", config=7)
    api.add_readings("tv", [reading(NOW_MS - n * 60_000, n, energy_mwh=1000 - n, relay=n % 2) for n in range(1, 90)])
    Page[Device].model_validate(await api.get("devices"))
    Fleet.model_validate(await api.get("fleet"))
    Daily.model_validate(await api.get("devices/tv/daily"))
    Readiness.model_validate((await api.client.get("/readyz")).json())
    for resolution in ("raw", "15m", "1h", "1d"):
        series = Series.model_validate(await api.get("devices/tv/readings", resolution=resolution))
        assert series.points


async def test_documents_are_served(api: ApiCorner) -> None:
    assert (await api.client.get("/openapi.json")).json()["openapi"].startswith("3.1")
    assert (await api.client.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"
    for item in (await api.client.get("/schemas")).json()["items"]:
        answer = await api.client.get(item["url"])
        assert answer.headers["content-type"] == "application/schema+json"
        assert answer.json()["title"] == item["event_type"]


async def test_the_page_allows_nothing_from_elsewhere_and_nothing_inline(api: ApiCorner) -> None:
    for path in ("/", "/docs"):
        answer = await api.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=|https?://", answer.text)
        for link in re.findall(r'(?:src|href)="(/page/[^"]+)"', answer.text):
            assert (await api.client.get(link)).status_code == 200, link


async def test_metrics_count_requests_by_route_and_not_by_path(api: ApiCorner) -> None:
    for number in range(3):
        await api.get(f"devices/nobody-{number}", status=404)
    await api.client.get("/nowhere")
    families = {f.name: f for f in text_string_to_metric_families((await api.client.get("/metrics")).text)}
    routes = {sample.labels["route"] for sample in families["wattaway_api_requests"].samples}
    assert "/api/v1/devices/{device_id}" in routes
    assert not any("nobody" in route or "nowhere" in route for route in routes)
    assert "wattaway_api_request_seconds" in families
