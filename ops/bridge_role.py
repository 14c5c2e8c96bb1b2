"""The bridge role, put together from settings."""

from __future__ import annotations

from bridges.mqtt_link import MqttServer
from bridges.run_bridge import run_bridge
from ops.mqtt_tls import mqtt_tls
from ops.service_users import mqtt_password
from ops.settings import Settings
from ops.wiring import kafka_server, spare_the_collector, stop_on_signals

_DAY_MS = 86_400_000


async def serve_bridge_role(settings: Settings) -> None:
    """Carry readings from MQTT into the log until SIGTERM."""
    spare_the_collector()
    await run_bridge(
        MqttServer(
            settings.mqtt_host,
            settings.mqtt_port,
            settings.mqtt_username,
            mqtt_password(settings),
            settings.mqtt_client_id,
            mqtt_tls(settings),
        ),
        kafka_server(settings),
        reading_max_age_ms=settings.reading_max_age_days * _DAY_MS,
        receipt_interval_ms=settings.receipt_interval_ms,
        metrics_port=settings.bridge_metrics_port,
        metrics_host=settings.metrics_host,
        stop=stop_on_signals(),
    )
