"""What the screen shows is computed right: rates, quantiles, complaints from the logs."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from ops.embedded.ports import LOOPBACK, free_ports
from ops.figures import Figures, quantile, rates, read_figures, scrape
from ops.role_logs import RoleLogs
from tests.servers import settings_from


def test_rates_are_per_second_between_two_looks() -> None:
    before = Figures(at_s=10, received=100, projected=90, latency_buckets={0.01: 0, 0.1: 10, float("inf"): 10})
    now = Figures(at_s=14, received=300, projected=90, latency_buckets={0.01: 60, 0.1: 108, float("inf"): 110})
    assert rates(before, now).received_per_s == 50
    assert rates(before, now).projected_per_s == 0
    assert rates(before, now).p50_s == 0.01
    assert rates(before, now).p99_s == 0.1


def test_a_restarted_role_counts_from_zero_again() -> None:
    assert rates(Figures(0, received=1000), Figures(2, received=10)).received_per_s == 5


def test_silence_is_no_rate() -> None:
    assert rates(Figures(0), Figures(2, received=10)).received_per_s is None
    assert rates(Figures(0, received=10), Figures(2)).received_per_s is None
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0.0}, 0.5) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbroken o",
        b"none of HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx{ 1 2 3}",
    ],
)
def test_a_role_that_dies_in_the_middle_of_its_answer_says_nothing(answer: bytes) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert scrape(f"http://127.0.0.1:{server.getsockname()[1]}/metrics") == {}
        thread.join()


def test_a_log_is_emptied_even_where_no_copy_of_it_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    path.touch()
    logs = RoleLogs({"bridge": path})
    path.write_bytes(b"x" * 10_000_001 + b"\n")
    (tmp_path / "bridge.log.1").mkdir()
    logs.follow()
    assert path.stat().st_size == 0
    with path.open("ab") as file:
        file.write(b'{"level": "error", "event": "goes on"}\n')
    logs.follow()
    assert logs.errors == 1


def test_beyond_the_last_edge_the_last_edge_is_shown() -> None:
    assert quantile({0.5: 1, float("inf"): 100}, 0.99) == 0.5


def test_figures_come_from_the_roles_metrics() -> None:
    registry = CollectorRegistry()
    Counter("wattaway_bridge_readings", "…", registry=registry).inc(7)
    letters = Counter("wattaway_bridge_dead_letters", "…", ["reason"], registry=registry)
    letters.labels("schema").inc(2)
    letters.labels("clock_ahead").inc(3)
    Histogram("wattaway_projector_visible_latency_seconds", "…", buckets=(0.1, 1), registry=registry).observe(0.5)
    (port,) = free_ports(1)
    server, thread = start_http_server(port, "127.0.0.1", registry)
    try:
        settings = settings_from(
            {"WATTAWAY_BRIDGE_METRICS_PORT": str(port), "WATTAWAY_PROJECTOR_METRICS_PORT": str(port)}
        )
        figures = read_figures(settings)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert (figures.received, figures.dead_letters, figures.projected) == (7, 5, None)
    assert figures.latency_buckets == {0.1: 0, 1.0: 1, float("inf"): 1}


def test_nobody_there_is_not_zero() -> None:
    (port,) = free_ports(1)
    settings = settings_from({"WATTAWAY_BRIDGE_METRICS_PORT": str(port), "WATTAWAY_PROJECTOR_METRICS_PORT": "0"})
    figures = read_figures(settings)
    assert (figures.received, figures.dead_letters, figures.lag) == (None, None, None)


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    path = tmp_path / "bridge.log"
    path.write_text('{"event": "of an earlier run", "level": "error"}\n')
    return path


def write(path: Path, **event: object) -> None:
    with path.open("a") as file:
        file.write(json.dumps(event) + "\n")


def test_only_new_warnings_and_errors_are_told(log_path: Path) -> None:
    logs = RoleLogs({"bridge": log_path})
    write(log_path, event="bridge ready", level="info")
    write(log_path, event="reading rejected", level="warning", device_id="d1")
    write(log_path, event="kafka is away", level="error")
    with log_path.open("a") as file:
        file.write('Traceback (most recent call last):\n{"event": "half a li')
    logs.follow()
    assert (logs.errors, logs.warnings) == (1, 1)
    assert [one.text for one in logs.latest] == ["reading rejected device_id=d1", "kafka is away"]
    with log_path.open("a") as file:
        file.write('ne", "level": "error"}\n')
    logs.follow()
    assert [one.text for one in logs.latest][-1] == "half a line"


def test_what_aiokafka_tries_again_itself_is_only_a_warning(log_path: Path) -> None:
    logs = RoleLogs({"projector": log_path})
    write(log_path, event="Group Coordinator Request failed", level="error", logger="aiokafka.consumer.coordinator")
    logs.follow()
    assert (logs.errors, logs.warnings) == (0, 1)


def test_a_log_does_not_grow_without_end(log_path: Path) -> None:
    logs = RoleLogs({"bridge": log_path})
    with log_path.open("ab") as child:
        child.write(b"x" * 10_000_001 + b"\n")
        child.flush()
        logs.follow()
        assert log_path.stat().st_size == 0
        assert log_path.with_suffix(".log.1").stat().st_size > 10_000_000
        child.write(b'{"event": "goes on", "level": "error"}\n')
        child.flush()
        logs.follow()
    assert logs.errors == 1
    assert log_path.stat().st_size < 100
