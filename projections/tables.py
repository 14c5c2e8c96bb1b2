"""The read models' tables, one definition for MySQL and SQLite.

Integers only (ms since 1970, mV, mA, mW, mWh), so that equal histories give equal rows. `read_model("x")` gives the
same tables under names ending in `_x`: a rebuild fills those, then swaps them in.

A device's surrogate is computed from its id (`device_ref_of`), not handed out: two projectors, a rebuild and a query
that spans a swap of the tables all agree on it without asking each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
)

from projections.column_types import ASCII_64, ASCII_190, ASCII_250, BLOB, LONG_TEXT, TEXT_500, key_part
from projections.lifecycle_tables import Indexes, LifecycleTables, lifecycle_tables

DEAD_LETTERS = "dead-letters"
"""`log_topic` of what the bridge could not take; a record that the projector could not take has its own topic's."""


@lru_cache(maxsize=200_000)
def device_ref_of(device_id: str) -> int:
    """The device's surrogate: 62 bits of BLAKE2b of its id, so that it fits a signed 64-bit column.

    Two of a million devices share one with a probability of 1e-7; the projector finds that and dead-letters the later.
    """
    return int.from_bytes(blake2b(device_id.encode(), digest_size=8).digest(), "big") >> 2


@dataclass(frozen=True)
class ReadModel:
    """The tables of one generation of the read models."""

    suffix: str
    metadata: MetaData
    devices: Table
    boots: Table
    readings: Table
    rollups_15m: Table
    rollups_1h: Table
    rollups_1d: Table
    dirty_buckets: Table
    device_reports: Table
    dead_letters: Table
    consumer_positions: Table
    lifecycle: LifecycleTables

    def tables(self) -> list[Table]:
        """All of them, in the order of their names without the suffix."""
        return [self.metadata.tables[name] for name in sorted(self.metadata.tables)]

    def base_name(self, table: Table) -> str:
        """The table's name in the live generation."""
        return table.name.removesuffix(f"_{self.suffix}") if self.suffix else table.name


@cache
def read_model(suffix: str = "") -> ReadModel:
    """The tables of one generation: `""` is the live one."""
    metadata = MetaData()

    def table(name: str, *columns: Column[object], by: Indexes | None = None) -> Table:
        full_name = f"{name}_{suffix}" if suffix else name
        indexes = [Index(f"{full_name}_by_{name_of}", *of) for name_of, of in (by or {}).items()]
        return Table(full_name, metadata, *columns, *indexes, sqlite_with_rowid=False, mysql_engine="InnoDB")

    def device_ref() -> Column[object]:
        return key_part("device_ref")

    def rollup(name: str) -> Table:
        """Count, power and energy of the readings in [bucket_at_ms, + width): a pure function of `readings`."""
        return table(
            name,
            device_ref(),
            key_part("bucket_at_ms"),
            Column("readings", Integer, nullable=False),
            Column("power_mw_sum", BigInteger, nullable=False),
            Column("power_mw_min", Integer, nullable=False),
            Column("power_mw_max", Integer, nullable=False),
            Column("energy_mwh", BigInteger),
            Column("first_at_ms", BigInteger, nullable=False),
            Column("last_at_ms", BigInteger, nullable=False),
        )

    return ReadModel(
        suffix=suffix,
        metadata=metadata,
        devices=table(
            "devices",
            device_ref(),
            Column("device_id", ASCII_64, nullable=False, unique=True),
            Column("first_seen_at_ms", BigInteger, nullable=False),
            Column("online", Boolean),
            Column("presence_at_ms", BigInteger),
            Column("boot", String(8)),
            Column("firmware", TEXT_500),
            Column("config", BigInteger),
        ),
        boots=table(
            "boots",
            device_ref(),
            key_part("boot"),
            Column("boot_at_ms", BigInteger, nullable=False),
        ),
        readings=table(
            "readings",
            device_ref(),
            key_part("measured_at_ms"),
            key_part("boot"),
            key_part("seq"),
            Column("received_at_ms", BigInteger, nullable=False),
            Column("power_mw", Integer, nullable=False),
            Column("voltage_mv", Integer),
            Column("current_ma", Integer),
            Column("energy_mwh", BigInteger),
            Column("relay", SmallInteger),
            Column("temperature_mc", Integer),
            Column("rssi_dbm", SmallInteger),
        ),
        rollups_15m=rollup("rollups_15m"),
        rollups_1h=rollup("rollups_1h"),
        rollups_1d=rollup("rollups_1d"),
        dirty_buckets=table(
            "dirty_buckets",
            device_ref(),
            key_part("bucket_at_ms"),
        ),
        device_reports=table(
            "device_reports",
            device_ref(),
            Column("report_id", ASCII_250, primary_key=True),
            Column("received_at_ms", BigInteger, nullable=False),
            Column("kind", ASCII_64, nullable=False),
            Column("body", LONG_TEXT, nullable=False),
            by={"received_at_ms": ("device_ref", "received_at_ms")},
        ),
        dead_letters=table(
            "dead_letters",
            Column("log_topic", ASCII_64, primary_key=True, default=DEAD_LETTERS, server_default=DEAD_LETTERS),
            Column("log_partition", Integer, primary_key=True, autoincrement=False),
            key_part("log_offset"),
            Column("received_at_ms", BigInteger, nullable=False),
            Column("device_id", ASCII_64),
            Column("boot", String(8)),
            Column("seq", BigInteger),
            Column("reason", ASCII_64, nullable=False),
            Column("detail", TEXT_500, nullable=False),
            Column("origin", TEXT_500, nullable=False),
            Column("raw", BLOB, nullable=False),
            by={"received_at_ms": ("received_at_ms",)},
        ),
        consumer_positions=table(
            "consumer_positions",
            Column("consumer_group", ASCII_190, primary_key=True),
            Column("topic", ASCII_190, primary_key=True),
            Column("log_partition", Integer, primary_key=True, autoincrement=False),
            Column("topic_id", ASCII_64, nullable=False),
            Column("next_offset", BigInteger, nullable=False),
            Column("generation", ASCII_64, nullable=False),
        ),
        lifecycle=lifecycle_tables(table),
    )
