"""What more than one role is put together of: settings become adapters here, and reach the rest as plain arguments."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain.clock import SystemClock
from domain.errors import InvalidInput, SettingInvalid
from ops.credentials import stored_secret
from ops.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bridges.event_store import EventDatabase
    from bridges.run_bridge import KafkaServer
    from domain.firmware_keys import TrustedKey
    from domain.ports import KeyStore
    from projections.schema import Lineage

_OBJECTS_PER_COLLECTION = 50_000


def spare_the_collector(objects_per_collection: int = _OBJECTS_PER_COLLECTION) -> None:
    """Leave what the imports have made (100,000 objects) out of all later garbage collections, and have fewer of them.

    A full collection, which stops everything, took 66 ms of CPU in the API, 86 in the projector, 24 in the bridge. And
    what passes through, a batch's records and rows, dies without a collector: nothing in it forms a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(objects_per_collection)


def kafka_server(settings: Settings) -> KafkaServer:
    """Where the log is, and how its topics are made."""
    from bridges.kafka_topics import TopicNeeds
    from bridges.run_bridge import KafkaServer

    needs = TopicNeeds(settings.kafka_partitions, settings.kafka_replication)
    return KafkaServer(settings.kafka_bootstrap, settings.kafka_topic_prefix, needs)


def migrate(settings: Settings) -> str:
    """Bring the tables of read models and event store up to date; what was done, in a few words."""
    from projections.schema import migrate

    views = migrate(settings.resolved_database_url())
    events = migrate(settings.resolved_event_store_url(), event_lineage(settings))
    return f"{settings.database_kind()} has revision {views}, the event store {events}"


def event_lineage(settings: Settings) -> Lineage:
    """The event store's own migrations."""
    from bridges.event_store_tables import MIGRATIONS, VERSION_TABLE
    from projections.schema import Lineage

    beside_the_read_models = not settings.event_store_url.get_secret_value() and settings.database_kind() != "sqlite"
    setting = "WATTAWAY_DATABASE_URL" if beside_the_read_models else "WATTAWAY_EVENT_STORE_URL"
    return Lineage(MIGRATIONS, VERSION_TABLE, setting)


def event_engines(settings: Settings) -> tuple[Engine, Engine]:
    """Engines that write and read the event store's database, checked to have its tables; dispose of both in the end.

    Raises:
        SettingInvalid: the database lets us not in, or `wattaway migrate` has to be run first.
        DependencyUnavailable: the database is out of reach.
    """
    from projections.dialect import read_engine, translated_errors, write_engine
    from projections.schema import check_schema

    url = settings.resolved_event_store_url()
    reading, lineage = read_engine(url), event_lineage(settings)
    with translated_errors(lineage.setting):
        check_schema(reading, lineage)
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


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; call it inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
