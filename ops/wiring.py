"""The composition root: the only place that chooses adapters and hands settings to the roles as plain arguments."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from domain.clock import SystemClock
from domain.errors import InvalidInput, SettingInvalid
from ops.credentials import stored_secret
from ops.mqtt_tls import mqtt_tls
from ops.service_users import mqtt_password
from ops.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bridges.event_store import EventDatabase
    from bridges.run_bridge import KafkaServer
    from domain.firmware_keys import TrustedKey
    from domain.ports import KeyStore
    from projections.log_consumer import LogSource
    from projections.options import ProjectorOptions
    from projections.schema import Lineage
    from projections.verify import Verification

log = structlog.get_logger()

_DAY_MS = 86_400_000
_OBJECTS_PER_COLLECTION = 50_000
# Two batches of a rebuild, on their way and being read, are 150,000 objects.
_OBJECTS_PER_COLLECTION_IN_BULK = 1_000_000


def spare_the_collector(objects_per_collection: int = _OBJECTS_PER_COLLECTION) -> None:
    """Leave what the imports have made (100,000 objects) out of all later garbage collections, and have fewer of them.

    A full collection, which stops everything, took 66 ms of CPU in the API, 86 in the projector, 24 in the bridge. And
    what passes through, a batch's records and rows, dies without a collector: nothing in it forms a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(objects_per_collection)


def run_device_auth(settings: Settings) -> None:
    """Serve the embedded broker's auth callout until SIGTERM."""
    from ops.broker_roles import serve_device_auth_role

    asyncio.run(serve_device_auth_role(settings))


def run_broker_accounts(settings: Settings) -> None:
    """Keep Mosquitto's account files equal to what is registered, until SIGTERM."""
    from ops.broker_roles import serve_broker_accounts_role

    asyncio.run(serve_broker_accounts_role(settings))


def run_bridge(settings: Settings) -> None:
    """Carry readings from MQTT into the log until SIGTERM."""
    uvloop.run(_run_bridge(settings))


async def _run_bridge(settings: Settings) -> None:
    from bridges.mqtt_link import MqttServer
    from bridges.run_bridge import run_bridge

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
        stop=stop_on_signals(),
    )


def kafka_server(settings: Settings) -> KafkaServer:
    """Where the log is, and how its topics are made."""
    from bridges.kafka_topics import TopicNeeds
    from bridges.run_bridge import KafkaServer

    needs = TopicNeeds(settings.kafka_partitions, settings.kafka_replication)
    return KafkaServer(settings.kafka_bootstrap, settings.kafka_topic_prefix, needs)


def run_projector(settings: Settings, *, on_step: Callable[[str], None] = lambda _step: None) -> None:
    """Fold the log into the read models until SIGTERM; `on_step` is for tests that kill it between two steps."""
    uvloop.run(_run_projector(settings, on_step))


async def _run_projector(settings: Settings, on_step: Callable[[str], None]) -> None:
    from bridges.kafka_topics import ensure_topics
    from projections.app import run_projector

    source, options = _projection(settings)
    spare_the_collector()
    # Whichever role comes first makes the topics.
    await ensure_topics(settings.kafka_bootstrap, source.topics, kafka_server(settings).needs)
    await run_projector(source, options, stop=stop_on_signals(), on_step=on_step)


def _projection(settings: Settings) -> tuple[LogSource, ProjectorOptions]:
    from projections.log_consumer import LogSource
    from projections.options import ProjectorOptions

    options = ProjectorOptions(
        settings.resolved_database_url(),
        settings.resolved_redis_url(),
        settings.redis_prefix,
        settings.time_zone,
        settings.projector_metrics_port,
    )
    return LogSource(settings.kafka_bootstrap, settings.kafka_topic_prefix, settings.projector_instance), options


def run_relay(settings: Settings, *, on_step: Callable[[str], None] = lambda _step: None) -> None:
    """Carry the event store's log to Kafka until SIGTERM; `on_step` is for tests that kill it between two steps."""
    from ops.relay_role import serve_relay_role

    uvloop.run(serve_relay_role(settings, on_step))


def run_dispatcher(settings: Settings, *, on_step: Callable[[str], None] = lambda _step: None) -> None:
    """See commands to their sockets until SIGTERM; `on_step` is for tests that kill it between two steps."""
    from ops.dispatcher_role import serve_dispatcher_role

    uvloop.run(serve_dispatcher_role(settings, on_step))


def run_api(settings: Settings) -> None:
    """Answer people and programs until SIGTERM."""
    from ops.api_role import serve_api_role

    uvloop.run(serve_api_role(settings))


def migrate(settings: Settings) -> str:
    """Bring the tables of read models and event store up to date; what was done, in a few words."""
    from projections.schema import migrate

    views = migrate(settings.resolved_database_url())
    events = migrate(settings.resolved_event_store_url(), _event_lineage())
    return f"{settings.database_kind()} has revision {views}, the event store {events}"


def _event_lineage() -> Lineage:
    from bridges.event_store_tables import MIGRATIONS, VERSION_TABLE
    from projections.schema import Lineage

    return Lineage(MIGRATIONS, VERSION_TABLE, "WATTAWAY_EVENT_STORE_URL")


def event_engines(settings: Settings) -> tuple[Engine, Engine]:
    """Engines that write and read the event store's database, checked to have its tables; dispose of both in the end.

    Raises:
        SettingInvalid: `wattaway migrate` has to be run first.
        DependencyUnavailable: the database is out of reach.
    """
    from projections.dialect import read_engine, translated_errors, write_engine
    from projections.schema import check_schema

    url = settings.resolved_event_store_url()
    reading = read_engine(url)
    with translated_errors():
        check_schema(reading, _event_lineage())
    return write_engine(url, durable=True), reading


def key_store(settings: Settings, database: EventDatabase) -> KeyStore:
    """The keys of what is sealed; their master key is the setting, or the one made once in the data dir."""
    from bridges.key_store import SqlKeyStore

    return SqlKeyStore(database, master_key(settings), SystemClock())


def master_key(settings: Settings) -> bytes:
    """What wraps the keys of personal data."""
    return bytes.fromhex(settings.master_key.get_secret_value() or stored_secret(settings.data_dir / "master.secret"))


def firmware_keys(settings: Settings) -> Sequence[TrustedKey]:
    """Whose signatures of firmware count.

    Raises:
        SettingInvalid: the file cannot be read, or holds something else.
    """
    from domain.firmware_keys import read_public_keys

    if not settings.firmware_keys:
        return ()
    try:
        return read_public_keys(Path(settings.firmware_keys).read_bytes())
    except OSError as error:
        raise SettingInvalid(f"WATTAWAY_FIRMWARE_KEYS: {settings.firmware_keys}: {error.strerror}") from error
    except InvalidInput as error:
        raise SettingInvalid(f"WATTAWAY_FIRMWARE_KEYS: {settings.firmware_keys}: {error.detail}") from error


def rebuild(settings: Settings, on_progress: Callable[[int, int], None]) -> str:
    """Replace the read models by what the log gives; what was done, in one line.

    Args:
        on_progress: told the records done and to do, now and then.
    """
    from projections.rebuild import rebuild

    source, options = _projection(settings)
    spare_the_collector(_OBJECTS_PER_COLLECTION_IN_BULK)
    return str(uvloop.run(rebuild(source, options, on_progress=on_progress)))


def verify(settings: Settings) -> Verification:
    """Compare the log with the read models."""
    from projections.verify import verify

    spare_the_collector(_OBJECTS_PER_COLLECTION_IN_BULK)
    return uvloop.run(verify(*_projection(settings)))


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
    "broker-accounts": run_broker_accounts,
    "device-auth": run_device_auth,
    "dispatcher": run_dispatcher,
    "projector": run_projector,
    "relay": run_relay,
}
