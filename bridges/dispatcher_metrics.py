"""What the dispatcher counts, for Prometheus."""

from __future__ import annotations

from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bridges.metrics_server import metrics_served

_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class DispatcherMetrics:
    """One dispatcher's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        name = "wattaway_dispatcher_"
        self.open = Gauge(name + "open_commands", "Commands that have not ended.", registry=registry)
        self.online = Gauge(name + "devices_online", "Sockets that say they are there.", registry=registry)
        self.dispatched = Counter(name + "dispatched", "Commands sent, each attempt.", registry=registry)
        self.ended = Counter(name + "ended", "Commands that ended, by state.", ["state"], registry=registry)
        self.ignored = Counter(name + "ignored_reports", "Answers to no command of that device.", registry=registry)
        self.configurations = Counter(
            name + "configurations_requested", "Commands for sockets with an old configuration.", registry=registry
        )
        self.retries = Counter(name + "retries", "Tries after an outage.", ["dependency"], registry=registry)
        self.requested_to_dispatched = Histogram(
            name + "requested_to_dispatched_seconds",
            "From the request to the first attempt.",
            buckets=_LATENCIES_S,
            registry=registry,
        )
        self.dispatched_to_answered = Histogram(
            name + "dispatched_to_answered_seconds",
            "From the last attempt to the answer's being stored.",
            buckets=_LATENCIES_S,
            registry=registry,
        )
        self.mqtt_connected = Gauge(name + "mqtt_connected", "1 while connected to the broker.", registry=registry)
        self.partitions = Gauge(name + "partitions", "Partitions that are this dispatcher's.", registry=registry)

    def served(self, host: str, port: int) -> AbstractContextManager[None]:
        """Serve these while the context lasts; on no port if it is 0."""
        return metrics_served(self.registry, host, port, "WATTAWAY_DISPATCHER_METRICS_PORT")
