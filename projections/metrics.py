"""What the projector counts, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from domain.errors import SettingInvalid

_BATCH_SIZES = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
_LATENCIES_MS = (5, 10, 25, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000, 10_000, 30_000)
_BACKLOG_MS = (60_000, 300_000, 3_600_000, 86_400_000)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class BatchHistogram(Collector):
    """A histogram of elapsed times that takes a whole batch at a fraction of the cost of a call for each reading."""

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str, bounds_ms: Sequence[int]) -> None:
        self._name, self._documentation, self._bounds_ms = name, documentation, bounds_ms
        self._within = [0] * len(bounds_ms)
        self._count = self._sum_ms = 0
        registry.register(self)

    def observe(self, now_ms: int, since_ms: Iterable[int]) -> None:
        """Count what took from these instants until `now_ms`."""
        instants_ms = sorted(since_ms)
        count = len(instants_ms)
        for number, bound_ms in enumerate(self._bounds_ms):
            self._within[number] += count - bisect_left(instants_ms, now_ms - bound_ms)
        self._count += count
        self._sum_ms += now_ms * count - sum(instants_ms)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation)
        edges = [str(bound_ms / 1000) for bound_ms in self._bounds_ms]
        buckets = [*zip(edges, self._within, strict=True), ("+Inf", self._count)]
        family.add_metric([], buckets, self._sum_ms / 1000)
        yield family


class ProjectorMetrics:
    """One projector's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        name = "wattaway_projector_"
        self.readings = Counter(name + "readings", "Readings committed to SQL.", registry=registry)
        self.reports = Counter(name + "reports", "Reports committed to SQL.", registry=registry)
        self.dead_letters = Counter(name + "dead_letters", "Dead letters committed to SQL.", registry=registry)
        self.batch_size = Histogram(
            name + "batch_size", "Records of one transaction.", buckets=_BATCH_SIZES, registry=registry
        )
        self.commit_seconds = Histogram(
            name + "commit_seconds", "One transaction.", buckets=_SECONDS, registry=registry
        )
        self.views_seconds = Histogram(
            name + "views_seconds", "Writing one batch to Redis.", buckets=_SECONDS, registry=registry
        )
        self.visible_latency = BatchHistogram(
            registry,
            name + "visible_latency_seconds",
            "From the bridge's clock to being visible in SQL and Redis.",
            _LATENCIES_MS,
        )
        self.measured_latency = BatchHistogram(
            registry,
            name + "measured_latency_seconds",
            "From the socket's clock, when it measured, to being visible in SQL and Redis; a backlog is old.",
            (*_LATENCIES_MS, *_BACKLOG_MS),
        )
        self.lag = Gauge(name + "lag_records", "Records in the log that are not in SQL yet.", registry=registry)
        self.fenced = Counter(name + "fenced", "Batches dropped because another had gone on.", registry=registry)
        self.retries = Counter(
            name + "retries", "Tries that failed for want of a server.", ["dependency"], registry=registry
        )
        self.recomputed = Counter(name + "recomputed_buckets", "15-minute buckets recomputed.", registry=registry)
        self.fillings = Counter(name + "view_fillings", "Times Redis was filled from SQL.", registry=registry)
        self.partitions = Gauge(name + "partitions", "Partitions of the log this projector holds.", registry=registry)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """Serve these while the context lasts; on no port if it is 0.

        Raises:
            SettingInvalid: the port is in use, or there is no such host here.
        """
        if port == 0:
            yield
            return
        try:
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            setting = "WATTAWAY_METRICS_HOST, WATTAWAY_PROJECTOR_METRICS_PORT"
            raise SettingInvalid(f"{setting}: {host}:{port}: {error.strerror}") from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join(timeout=2)
