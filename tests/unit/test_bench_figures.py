"""The bench's own arithmetic: percentiles, ratios, goals, latencies, and an HTTP load that omits nothing."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from domain.data_payload import decode_data
from domain.events import ReadingRecorded
from domain.wire import WireReading
from ops.bench.floors import Floors
from ops.bench.generator import Generator, LoadPlan
from ops.bench.http_load import get_at_rate
from ops.bench.latency import LatencyWatch, percentile
from ops.bench.processes import us_per_reading
from ops.bench.results import Figure, new_report, show_report, write_report


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1, 51, 100, 100]
    assert percentile([], 99) is None


def test_ratios_and_goals_read_the_right_way_round() -> None:
    rate = Figure("embedded", "sustained end to end, single readings", 10_000, "/s", floor=40_000, goal=20_000)
    delay = Figure("embedded", "p99", 50, "ms", goal=100, better="lower")
    assert (rate.ratio(), rate.of_goal()) == (0.25, 0.5)
    assert (delay.ratio(), delay.of_goal()) == (None, 2)
    assert Figure("embedded", "p99", None, "ms", goal=100).of_goal() is None


def test_a_report_shows_each_figure_beside_its_floor_and_can_be_read_back(tmp_path: Path) -> None:
    report = new_report()
    report.add(Figure("embedded", "sustained end to end, single readings", 12_345, "/s", goal=20_000))
    report.add(Figure("embedded", "rebuild", None, "events/s", goal=60_000, note="it ended with 1 after 2 s"))
    report.cpu_us_per_reading["embedded single"] = {"nats": 28.4, "bridge": 19.6}
    Floors({"raw MQTT QoS 1": 50_000.0, "sqlite3 insert": 100_000.0}).attach("embedded", report)
    console = Console(width=160, record=True)
    show_report(report, console)
    shown = console.export_text()
    assert re.search(r"12,345 /s\W+50,000 raw MQTT QoS 1\W+0\.25\W+20,000 /s\W+0\.62", shown)
    assert re.search(r"all\W+48\.0", shown)
    assert "it ended with 1 after 2 s" in shown
    stored = json.loads(write_report(report, tmp_path / "results").read_bytes())
    assert [figure["value"] for figure in stored["figures"]] == [12_345, None, 50_000, 100_000]


def test_every_figure_is_held_against_the_hardest_of_its_floors() -> None:
    report, names = new_report(), ("single readings", "backlog")
    for way in ("embedded", "stack"):
        report.figures += [Figure(way, f"sustained end to end, {name}", 100, "/s") for name in names]
        report.add(Figure(way, "rebuild, its start included", 100, "events/s"))
    everywhere = {"raw MQTT QoS 1": 200.0, "bare aiokafka consume": 400.0}
    Floors({**everywhere, "sqlite3 insert": 800.0}).attach("embedded", report)
    Floors({**everywhere, "multi-row insert": 200.0, "LOAD DATA": 1_000.0}).attach("stack", report)
    assert [figure.ratio() for figure in report.figures[:6]] == [0.5, 0.125, 0.25, 0.5, 0.1, 0.25]


def test_cpu_is_counted_per_reading_of_processes_seen_twice() -> None:
    assert us_per_reading({"a": 1.0, "gone": 5.0}, {"a": 1.5, "new": 2.0}, 100_000) == {"a": 5.0}


def test_a_reading_is_visible_with_it_or_with_a_newer_one_of_its_device() -> None:
    watch = LatencyWatch("0badcafe")
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def hear(now_ms: int, *items: tuple[str, str, int]) -> None:
        events = [ReadingRecorded(device_id, boot, seq, at, at, 1.0) for device_id, boot, seq in items]
        watch.hear(b'{"type":"readings","items":%b}' % msgspec.json.encode(events), now_ms / 1000)

    hear(1_000, ("b", "0badcafe", 0), ("a", "00000000", 7))
    watch.hear(b'{"type":"presence","items":[]}', 1.0)
    hear(1_030, ("a", "0badcafe", 1), ("b", "0badcafe", 0))
    # a0 and b0 were sent at 990 ms, a1 at 1010 ms.
    assert watch.latencies_ms(["a", "b"], [(990, 2), (1_010, 3)]) == pytest.approx([10, 40, 20])


def _plan(**changes: object) -> LoadPlan:
    plan = {"host": "127.0.0.1", "port": 1, "boot": "0badcafe", "tokens": {"a": "", "b": ""}, "seconds": 1.0}
    return LoadPlan(**{**plan, **changes})  # type: ignore[arg-type]


def _readings(payloads: list[bytes], now_ms: int) -> list[WireReading]:
    decoded = [decode_data(payload, received_at_ms=now_ms, max_age_ms=10**9) for payload in payloads]
    assert all(not one.rejected for one in decoded)
    return [reading for one in decoded for reading in one.readings]


def test_the_generators_templates_are_readings_with_rising_seqs() -> None:
    generator, now_ms = Generator(_plan()), 1_764_000_000_000
    readings = _readings([generator.payload(0, now_ms + n) for n in range(5)], now_ms)
    assert [(reading.seq, reading.at) for reading in readings] == [(n, now_ms + n) for n in range(5)]


def test_a_history_is_dated_without_gaps_up_to_now() -> None:
    generator, now_ms = Generator(_plan(tokens={"a": ""}, per_message=10, readings=40, step_ms=500)), 1_764_000_000_000
    readings = _readings([generator.payload(0, now_ms) for _ in range(4)], now_ms)
    assert [reading.at for reading in readings] == list(range(now_ms - 40 * 500, now_ms, 500))
    assert [reading.seq for reading in readings] == list(range(40))


async def test_http_load_counts_every_request_and_times_it_from_when_it_was_due() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            if b"/slow" in request:
                await asyncio.sleep(0.05)
            if b"/chunked" in request:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
            else:
                status = b"404 Not Found" if b"/absent" in request else b"200 OK"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: 3\r\n\r\nabc" % status)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        paths = ["/quick", "/slow", "/chunked", "/absent"]
        run = await get_at_rate("127.0.0.1", port, paths, token="wat_0", rate_per_s=400, seconds=0.5)
    assert (len(run.latencies_ms), run.failures) == (150, 50)
    assert sum(latency >= 49 for latency in run.latencies_ms) >= 50
