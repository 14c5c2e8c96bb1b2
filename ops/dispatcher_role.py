"""The dispatcher role, put together from settings."""

from __future__ import annotations

from collections.abc import Callable

from bridges.mqtt_link import MqttServer
from bridges.run_dispatcher import run_dispatcher
from ops.application import open_application
from ops.mqtt_tls import mqtt_tls
from ops.service_users import mqtt_dispatcher_password
from ops.settings import Settings
from ops.wiring import kafka_server, spare_the_collector, stop_on_signals


async def serve_dispatcher_role(settings: Settings, on_step: Callable[[str], None] = lambda _step: None) -> None:
    """See to commands until SIGTERM."""
    with open_application(settings) as application:
        spare_the_collector()
        await run_dispatcher(
            application.lifecycle,
            dispatcher_mqtt(settings),
            kafka_server(settings),
            metrics_port=settings.dispatcher_metrics_port,
            metrics_host=settings.metrics_host,
            stop=stop_on_signals(),
            on_step=on_step,
        )


def dispatcher_mqtt(settings: Settings) -> MqttServer:
    """The broker, and as whom the dispatcher connects."""
    return MqttServer(
        settings.mqtt_host,
        settings.mqtt_port,
        settings.mqtt_dispatcher_username,
        mqtt_dispatcher_password(settings),
        settings.mqtt_dispatcher_client_id,
        mqtt_tls(settings),
    )
