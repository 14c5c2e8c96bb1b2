"""The floors under the log and the stores: the same servers, bare, with records of the same size."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pymysql.converters import escape_string
from redis import Redis
from sqlalchemy import make_url

from bridges.kafka_topics import ensure_topics
from ops.bench.ways import Way

_BATCH = 500
_VALUE = b"x" * 330
_WITHIN_S = 30.0
_COLUMNS = (
    "device_ref, measured_at_ms, boot, seq, received_at_ms, power_mw, voltage_mv, current_ma, energy_mwh, relay, "
    "temperature_mc, rssi_dbm"
)
_TABLE = (
    "CREATE TABLE floor (device_ref INT, measured_at_ms BIGINT, boot BIGINT, seq BIGINT, received_at_ms BIGINT, "
    "power_mw INT, voltage_mv INT, current_ma INT, energy_mwh BIGINT, relay SMALLINT, temperature_mc INT, "
    "rssi_dbm SMALLINT, PRIMARY KEY (device_ref, measured_at_ms, boot, seq))"
)
Row = tuple[int, ...]


async def raw_kafka_per_s(way: Way, count: int) -> dict[str, float]:
    """Records a second through a bare aiokafka producer (acks=all, idempotent), and through a bare consumer."""
    settings = way.settings
    topic = f"{settings.kafka_topic_prefix}floor"
    await ensure_topics(settings.kafka_bootstrap, [topic], way.topic_needs)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=512 * 1024,
    )
    await producer.start()
    try:
        started_s = time.monotonic()
        for start in range(0, count, _BATCH):
            pending = [
                await producer.send(topic, _VALUE, key=b"device-%d" % (n % 100)) for n in range(start, start + _BATCH)
            ]
        await producer.flush()
        await asyncio.wait_for(pending[-1], _WITHIN_S)
        produced_s = time.monotonic() - started_s
    finally:
        await producer.stop()
    return {"produce": count / produced_s, "consume": await _consume_per_s(settings.kafka_bootstrap, topic, count)}


async def _consume_per_s(bootstrap: str, topic: str, count: int) -> float:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    try:
        seen, started_s = 0, time.monotonic()
        while seen < count and time.monotonic() - started_s < _WITHIN_S:
            seen += sum(map(len, (await consumer.getmany(timeout_ms=500, max_records=5_000)).values()))
        return seen / (time.monotonic() - started_s)
    finally:
        await consumer.stop()


def raw_insert_per_s(way: Way, count: int, folder: Path) -> dict[str, float]:
    """Rows a second into a table like `readings`, as bare as the driver allows, `_BATCH` rows a transaction."""
    url = make_url(way.settings.resolved_database_url())
    if url.get_backend_name() == "sqlite":
        return {"sqlite3 insert": _sqlite_per_s(folder / "floor.db", count)}
    connection = pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        local_infile=True,
    )
    with closing(connection), connection.cursor() as cursor:
        return {
            "LOAD DATA": _mysql_per_s(cursor, [_load_sql(rows, folder) for rows in _batches(count)]),
            "multi-row insert": _mysql_per_s(cursor, [_insert_sql(rows) for rows in _batches(count)]),
        }


def _mysql_per_s(cursor: Any, statements: list[str]) -> float:
    """Rows a second that these statements write, each in a transaction of its own."""
    cursor.execute(f"{_TABLE} ENGINE=InnoDB")
    try:
        rows, started_s = 0, time.monotonic()
        for statement in statements:
            rows += cursor.execute(statement)
            cursor.connection.commit()
        return rows / (time.monotonic() - started_s)
    finally:
        cursor.execute("DROP TABLE floor")


def _load_sql(rows: list[Row], folder: Path) -> str:
    """The statement that has the driver send these rows from a file, as MariaDB lets it unless told otherwise."""
    path = folder / f"floor-{rows[0][3]}.tsv"
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return f"LOAD DATA LOCAL INFILE '{escape_string(str(path))}' INTO TABLE floor ({_COLUMNS})"


def _insert_sql(rows: list[Row]) -> str:
    return f"INSERT INTO floor ({_COLUMNS}) VALUES {','.join(map(str, rows))}"  # noqa: S608 - integers only


def _sqlite_per_s(path: Path, count: int) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"{_TABLE} WITHOUT ROWID")
        marks, batches = ", ".join("?" * 12), list(_batches(count))
        started_s = time.monotonic()
        for rows in batches:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT INTO floor VALUES ({marks})", rows)  # noqa: S608
            connection.execute("COMMIT")
        return count / (time.monotonic() - started_s)
    finally:
        connection.close()


def _batches(count: int) -> Iterator[list[Row]]:
    for start in range(0, count, _BATCH):
        yield [
            (n % 100, 1_764_000_000_000 + n, 7, n, 1_764_000_000_000 + n, 98_200, 230_100, 431, n, 1, 41_200, -61)
            for n in range(start, start + _BATCH)
        ]


def raw_redis_per_s(way: Way, count: int) -> float:
    """HSETs of a document a second, pipelined by `_BATCH`."""
    with Redis.from_url(way.settings.resolved_redis_url()) as redis:
        started_s = time.monotonic()
        for start in range(0, count, _BATCH):
            pipeline = redis.pipeline(transaction=False)
            for n in range(start, start + _BATCH):
                pipeline.hset("floor", f"device-{n % 100}", _VALUE)
            pipeline.execute()
        seconds = time.monotonic() - started_s
        redis.delete("floor")
        return count / seconds
