"""Questions about devices, their latest readings and dead letters, each a few indexed reads of the read models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, func, or_, select

from api.readings import reading_document
from projections.column_types import ascii_equals
from projections.tables import ReadModel, read_model


class DeadLetterFilter(NamedTuple):
    """Which dead letters; None lets all through."""

    device_id: str | None
    reason: str | None
    from_ms: int | None
    to_ms: int | None


class DeadLetterKey(NamedTuple):
    """Where a dead letter stands in the newest-first order."""

    received_at_ms: int
    log_topic: str
    log_partition: int
    log_offset: int


def find_device_ref(connection: Connection, model: ReadModel, device_id: str) -> int | None:
    """The device's surrogate key, None if the device is unknown."""
    devices = model.devices
    return connection.execute(select(devices.c.device_ref).where(devices.c.device_id == device_id)).scalar()


def device_rows(connection: Connection, device_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Those of these devices that were heard of, and their presence."""
    devices = read_model().devices
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(device_ids), 500):
        chunk = device_ids[start : start + 500]
        rows = connection.execute(select(devices).where(devices.c.device_id.in_(chunk)))
        found.update((row.device_id, row) for row in rows)
    return found


def latest_documents(connection: Connection, device_ids: Sequence[str]) -> dict[str, bytes]:
    """The newest reading's document of every device that has one."""
    model = read_model()
    devices = model.devices.c
    found: dict[str, bytes] = {}
    for start in range(0, len(device_ids), 500):
        chunk = device_ids[start : start + 500]
        refs = connection.execute(select(devices.device_ref, devices.device_id).where(devices.device_id.in_(chunk)))
        for device_ref, device_id in refs.all():
            row = connection.execute(_newest_reading(model, device_ref)).first()
            if row is not None:
                found[device_id] = reading_document(device_id, row)
    return found


def _newest_reading(model: ReadModel, device_ref: int) -> Select[Any]:
    readings = model.readings
    key = (readings.c.measured_at_ms.desc(), readings.c.boot.desc(), readings.c.seq.desc())
    return select(readings).where(readings.c.device_ref == device_ref).order_by(*key).limit(1)


def dead_letter_rows(
    connection: Connection, wanted: DeadLetterFilter, before: DeadLetterKey | None, limit: int
) -> Sequence[Row[Any]]:
    """Up to `limit` dead letters, newest first, without their raw bytes but with how many those are."""
    letters = read_model().dead_letters
    listed = [column for column in letters.c if column.name != "raw"]
    query: Select[Any] = select(*listed, func.length(letters.c.raw).label("raw_bytes"))
    for column, value in ((letters.c.device_id, wanted.device_id), (letters.c.reason, wanted.reason)):
        if value is not None:
            query = query.where(ascii_equals(column, value))
    if wanted.from_ms is not None:
        query = query.where(letters.c.received_at_ms >= wanted.from_ms)
    if wanted.to_ms is not None:
        query = query.where(letters.c.received_at_ms < wanted.to_ms)
    if before is not None:
        query = query.where(_older_than(letters.c, before))
    order = [letters.c[name].desc() for name in DeadLetterKey._fields]
    return connection.execute(query.order_by(*order).limit(limit)).all()


def _older_than(columns: Any, key: DeadLetterKey) -> Any:
    """A row comparison spelt out, so that MySQL walks the index on `received_at_ms`."""
    older: Any = columns.log_offset < key.log_offset
    for column, value in (
        (columns.log_partition, key.log_partition),
        (columns.log_topic, key.log_topic),
        (columns.received_at_ms, key.received_at_ms),
    ):
        older = or_(column < value, and_(column == value, older))
    return and_(columns.received_at_ms <= key.received_at_ms, older)


def dead_letter_raw(connection: Connection, log_topic: str, log_partition: int, log_offset: int) -> bytes | None:
    """The bytes of one dead letter as they came."""
    letters = read_model().dead_letters
    query = select(letters.c.raw).where(
        ascii_equals(letters.c.log_topic, log_topic),
        letters.c.log_partition == log_partition,
        letters.c.log_offset == log_offset,
    )
    return connection.execute(query).scalar()
