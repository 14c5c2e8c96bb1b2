"""What the bridge counts, for Prometheus."""

from __future__ import annotations

from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bridges.metrics_server import metrics_served

_BATCH_SIZES = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class BridgeMetrics:
    """One bridge's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "wattaway_bridge_"
        registry = self.registry
        self.messages = Counter(name + "messages", "MQTT messages settled.", registry=registry)
        self.readings = Counter(name + "readings", "Readings in the log.", registry=registry)
        self.reports = Counter(name + "reports", "Presence, command and event reports in the log.", registry=registry)
        self.dead_letters = Counter(name + "dead_letters", "Dead letters, by reason.", ["reason"], registry=registry)
        self.receipts = Counter(name + "receipts", "Receipts sent to devices.", registry=registry)
        self.redelivered = Counter(name + "redelivered", "Messages that came again while under way.", registry=registry)
        self.dropped = Counter(name + "dropped", "Messages at QoS 0 dropped for want of room.", registry=registry)
        self.append_failures = Counter(name + "append_failures", "Appends that Kafka did not take.", registry=registry)
        self.batch_size = Histogram(
            name + "batch_size", "Records of one append.", buckets=_BATCH_SIZES, registry=registry
        )
        self.append_seconds = Histogram(
            name + "append_seconds",
            "From handing a batch to Kafka to its ack.",
            buckets=_LATENCIES_S,
            registry=registry,
        )
        self.in_flight = Gauge(name + "in_flight", "Messages not acknowledged to the broker yet.", registry=registry)
        self.mqtt_connected = Gauge(name + "mqtt_connected", "1 while connected to the broker.", registry=registry)
        self.kafka_connected = Gauge(name + "kafka_connected", "1 while Kafka takes records.", registry=registry)
        self.devices_seen = Gauge(name + "devices_seen", "Devices heard of since the start.", registry=registry)

    def served(self, host: str, port: int) -> AbstractContextManager[None]:
        """Serve these while the context lasts; on no port if it is 0.

        Raises:
            SettingInvalid: the port is in use.
        """
        return metrics_served(self.registry, host, port, "WATTAWAY_BRIDGE_METRICS_PORT")
