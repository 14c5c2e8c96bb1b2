"""One page of metrics for the whole engine: the API's own, then each role's, told apart by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import joined_metrics
from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.metrics import BridgeMetrics
from bridges.relay_metrics import RelayMetrics
from ops.embedded.ports import LOOPBACK, free_ports
from ops.settings import METRICS_ROLES
from projections.metrics import ProjectorMetrics
from tests.contract.api.members import bearer
from tests.contract.api.stranded import stranded_app

Metrics = BridgeMetrics | ProjectorMetrics | RelayMetrics | DispatcherMetrics
UP = "wattaway_api_metrics_source_up"


@pytest.fixture
def bridge() -> BridgeMetrics:
    """A bridge's metrics after some work."""
    metrics = BridgeMetrics()
    metrics.readings.inc(7)
    metrics.dead_letters.labels("schema").inc(2)
    return metrics


@pytest.fixture
def projector() -> ProjectorMetrics:
    """A projector's, whose only reading of late was visible after 30 ms."""
    metrics = ProjectorMetrics()
    metrics.readings.inc(5)
    metrics.visible_latency.observe(1_030, [1_000])
    return metrics


@contextmanager
def served(roles: Mapping[str, Metrics]) -> Iterator[dict[str, str]]:
    """Each served as its role does; where, by role."""
    ports = dict(zip(roles, free_ports(len(roles)), strict=True))
    with ExitStack() as stack:
        for role, metrics in roles.items():
            stack.enter_context(metrics.served(LOOPBACK, ports[role]))
        yield {role: f"http://{LOOPBACK}:{port}/metrics" for role, port in ports.items()}


@contextmanager
def out_of_order() -> Iterator[str]:
    """Where everything is answered with an error."""

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500, "out of order")

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((LOOPBACK, 0), Broken) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join()


def parsed(page: str) -> dict[str, Metric]:
    """The families by name; none may be there twice: Prometheus refuses the whole page then."""
    families = list(text_string_to_metric_families(page))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    return {family.name: family for family in families}


def value(families: dict[str, Metric], family: str, suffix: str = "", **labels: str) -> float:
    samples = families[family].samples
    (found,) = (one.value for one in samples if (one.name, one.labels) == (family + suffix, labels))
    return float(found)


async def test_the_page_holds_every_roles_families_beside_the_apis_own(
    tmp_path: Path, bridge: BridgeMetrics, projector: ProjectorMetrics
) -> None:
    roles: dict[str, Metrics] = {"bridge": bridge, "projector": projector}
    roles |= {"relay": RelayMetrics(), "dispatcher": DispatcherMetrics()}
    assert set(roles) == set(METRICS_ROLES)
    with served(roles) as sources:
        app, token = stranded_app(tmp_path, metrics_sources=sources)
        await app.state.services.deciding.follower.catch_up()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=bearer(token)) as client:
            answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = parsed(answer.text)
    assert {name.split("_")[1] for name in families if name.startswith("wattaway_")} == {"api", *METRICS_ROLES}
    assert value(families, "wattaway_bridge_readings", "_total") == 7
    assert value(families, "wattaway_projector_readings", "_total") == 5
    assert value(families, "wattaway_bridge_dead_letters", "_total", reason="schema") == 2
    assert value(families, "wattaway_projector_visible_latency_seconds", "_bucket", le="0.05") == 1
    assert value(families, "wattaway_projector_visible_latency_seconds", "_bucket", le="0.025") == 0
    assert [value(families, UP, source=role) for role in METRICS_ROLES] == [1, 1, 1, 1]


async def test_a_role_that_answers_with_an_error_is_left_out_and_said_to_be_down(bridge: BridgeMetrics) -> None:
    with served({"bridge": bridge}) as sources, out_of_order() as url:
        families = parsed((await joined_metrics({"projector": url, **sources})).decode())
    assert value(families, "wattaway_bridge_readings", "_total") == 7
    assert not [name for name in families if name.startswith("wattaway_projector")]
    assert [value(families, UP, source=role) for role in ("bridge", "projector")] == [1, 0]
