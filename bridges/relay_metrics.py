"""What the relay counts, for Prometheus."""

from __future__ import annotations

from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge

from bridges.metrics_server import metrics_served


class RelayMetrics:
    """One relay's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        name = "wattaway_relay_"
        self.relayed = Counter(name + "relayed", "Events acknowledged by Kafka.", registry=registry)
        self.lag = Gauge(name + "lag_events", "Events in the store that are not in Kafka yet.", registry=registry)
        self.active = Gauge(name + "active", "1 while this relay is the one that carries.", registry=registry)
        self.failures = Counter(name + "failures", "Times it began anew for want of a server.", registry=registry)

    def served(self, host: str, port: int) -> AbstractContextManager[None]:
        """Serve these while the context lasts; on no port if it is 0."""
        return metrics_served(self.registry, host, port, "WATTAWAY_RELAY_METRICS_PORT")
