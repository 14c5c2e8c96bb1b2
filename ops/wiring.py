"""The composition root: the only place that chooses adapters and hands settings to the roles as plain arguments."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvloop

from domain.errors import DependencyUnavailable
from ops.credentials import bridge_password, fleet_secret
from ops.settings import Settings

if TYPE_CHECKING:
    from projections.app import ProjectorOptions
    from projections.log_consumer import LogSource
    from projections.verify import Verification

log = structlog.get_logger()

_DAY_MS = 86_400_000
_PROBE_S = 1.0
_OBJECTS_PER_COLLECTION = 50_000


def spare_the_collector() -> None:
    """Leave what the imports have made (100,000 objects) out of all later garbage collections, and have fewer of them.

    A full collection, which stops everything, took 66 ms of CPU in the API, 86 in the projector, 24 in the bridge. And
    what passes through, a batch's records and rows, dies without a collector: nothing in it forms a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_PER_COLLECTION)


def run_device_auth(settings: Settings) -> None:
    """Serve the embedded broker's auth callout until SIGTERM."""
    asyncio.run(_serve_device_auth(settings))


async def _serve_device_auth(settings: Settings) -> None:
    from ops.device_auth import Issuer, Policy, serve_device_auth
    from ops.embedded.nats import AUTH_USER, FLEET_ACCOUNT, callout_password, issuer_key

    policy = Policy(fleet_secret(settings.data_dir), settings.mqtt_username, mqtt_password(settings))
    await serve_device_auth(
        Issuer(issuer_key(settings.data_dir), FLEET_ACCOUNT, policy),
        server=f"nats://127.0.0.1:{settings.embedded_nats_port}",
        user=AUTH_USER,
        password=callout_password(settings.data_dir),
        stop=stop_on_signals(),
        on_ready=lambda: log.info("device-auth ready"),
    )


def run_bridge(settings: Settings) -> None:
    """Carry readings from MQTT into the log until SIGTERM."""
    uvloop.run(_run_bridge(settings))


async def _run_bridge(settings: Settings) -> None:
    from bridges.kafka_topics import TopicNeeds
    from bridges.mqtt_link import MqttServer
    from bridges.run_bridge import KafkaServer, run_bridge

    spare_the_collector()
    await run_bridge(
        MqttServer(
            settings.mqtt_host,
            settings.mqtt_port,
            settings.mqtt_username,
            mqtt_password(settings),
            settings.mqtt_client_id,
        ),
        KafkaServer(
            settings.kafka_bootstrap,
            settings.kafka_topic_prefix,
            TopicNeeds(settings.kafka_partitions, settings.kafka_replication),
        ),
        reading_max_age_ms=settings.reading_max_age_days * _DAY_MS,
        receipt_interval_ms=settings.receipt_interval_ms,
        metrics_port=settings.bridge_metrics_port,
        stop=stop_on_signals(),
    )


def run_projector(settings: Settings, *, on_step: Callable[[str], None] = lambda _step: None) -> None:
    """Fold the log into the read models until SIGTERM; `on_step` is for tests that kill it between two steps."""
    uvloop.run(_run_projector(settings, on_step))


async def _run_projector(settings: Settings, on_step: Callable[[str], None]) -> None:
    from bridges.kafka_topics import TopicNeeds, ensure_topics
    from projections.app import run_projector

    source, options = _projection(settings)
    spare_the_collector()
    # Whichever role comes first makes the topics.
    needs = TopicNeeds(settings.kafka_partitions, settings.kafka_replication)
    await ensure_topics(settings.kafka_bootstrap, source.topics, needs)
    await run_projector(source, options, stop=stop_on_signals(), on_step=on_step)


def _projection(settings: Settings) -> tuple[LogSource, ProjectorOptions]:
    from projections.app import ProjectorOptions
    from projections.log_consumer import LogSource

    options = ProjectorOptions(
        settings.resolved_database_url(),
        settings.resolved_redis_url(),
        settings.redis_prefix,
        settings.time_zone,
        settings.projector_metrics_port,
    )
    return LogSource(settings.kafka_bootstrap, settings.kafka_topic_prefix, settings.projector_instance), options


def run_api(settings: Settings) -> None:
    """Answer questions about the read models until SIGTERM."""
    uvloop.run(_run_api(settings))


async def _run_api(settings: Settings) -> None:
    from api.app import create_app
    from api.asyncapi import Brokers
    from api.server import serve

    ports = {"bridge": settings.bridge_metrics_port, "projector": settings.projector_metrics_port}
    app = create_app(
        database_url=settings.resolved_database_url(),
        redis_url=settings.resolved_redis_url(),
        redis_prefix=settings.redis_prefix,
        time_zone=settings.time_zone,
        offline_after_s=settings.offline_after_s,
        brokers=Brokers(
            settings.kafka_bootstrap.split(",")[0],
            f"{settings.mqtt_host}:{settings.mqtt_port}",
            settings.kafka_topic_prefix,
        ),
        metrics_sources={role: f"http://127.0.0.1:{port}/metrics" for role, port in ports.items() if port},
        probes={"kafka": partial(_probe_kafka, settings), "mqtt": partial(_probe_mqtt, settings)},
    )
    spare_the_collector()
    await serve(app, host=settings.api_host, port=settings.api_port, stop=stop_on_signals())


async def _probe_kafka(settings: Settings) -> str:
    from ops.embedded.kafka import kafka_answers

    for broker in settings.kafka_bootstrap.split(","):
        host, _, port = broker.strip().rpartition(":")
        if await asyncio.to_thread(kafka_answers, (host, int(port)), _PROBE_S):
            return f"{host}:{port} answers"
    raise DependencyUnavailable("kafka", f"none of {settings.kafka_bootstrap} answers")


async def _probe_mqtt(settings: Settings) -> str:
    from ops.embedded.ports import is_open

    # A CONNECT would need credentials and leave a trace in the broker's log every time.
    if not await asyncio.to_thread(is_open, (settings.mqtt_host, settings.mqtt_port), _PROBE_S):
        raise DependencyUnavailable("mqtt", f"{settings.mqtt_host}:{settings.mqtt_port} does not answer")
    return f"{settings.mqtt_host}:{settings.mqtt_port} is open"


def migrate(settings: Settings) -> str:
    """Bring the database's tables up to date; what was done, in a few words."""
    from projections.schema import migrate

    return f"{settings.database_kind()} has revision {migrate(settings.resolved_database_url())}"


def rebuild(settings: Settings, on_progress: Callable[[int, int], None]) -> str:
    """Replace the read models by what the log gives; what was done, in one line.

    Args:
        on_progress: told the records done and to do, now and then.
    """
    from projections.rebuild import rebuild

    source, options = _projection(settings)
    spare_the_collector()
    return str(uvloop.run(rebuild(source, options, on_progress=on_progress)))


def verify(settings: Settings) -> Verification:
    """Compare the log with the read models."""
    from projections.verify import verify

    return uvloop.run(verify(*_projection(settings)))


def mqtt_password(settings: Settings) -> str:
    """The bridge's password: the setting, or the one made for the embedded broker."""
    return settings.mqtt_password.get_secret_value() or bridge_password(settings.data_dir)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; call it inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


ROLES: dict[str, Callable[[Settings], None]] = {
    "api": run_api,
    "bridge": run_bridge,
    "device-auth": run_device_auth,
    "projector": run_projector,
}
