"""Comparing Redis with what the log gives. Redis may be ahead of that, but only by what SQL holds by then."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, Engine, select

from domain.errors import EventRejected
from domain.events import ReadingRecorded, decode_reading
from projections.dialect import execute
from projections.folded import Newest, Presence
from projections.latest_views import LatestViews, presence_document
from projections.newest_rows import DeviceView, device_views, reading_document
from projections.tables import ReadModel, device_ref_of

_WITHIN_S = 10.0
_EVERY_S = 0.25
_CHUNK = 1000
_READINGS_PER_STATEMENT = 200

Entries = Mapping[str, tuple[str, bytes]]


class ViewsChecked(NamedTuple):
    """How many devices were compared, and the first that differs."""

    devices: int
    difference: str | None


async def check_views(views: LatestViews, scratch: Engine, live: Engine, model: ReadModel) -> ViewsChecked:
    """Compare; the devices that differ are looked at again for some seconds, for Redis is written after SQL.

    Args:
        scratch: holds what the log gives, up to a past instant.
        live: the read models, which go on.
    Raises:
        DependencyUnavailable: Redis or SQL.
    """
    deadline = asyncio.get_running_loop().time() + _WITHIN_S
    by_log = await asyncio.to_thread(lambda: {one.device_id: one for one in _all_views(scratch, model)})
    suspects: Collection[str] | None = None
    while True:
        difference: str | None = "Redis: the views are not declared complete (no `generation`)"
        if await views.are_complete():
            latest, presence = await views.entries("latest"), await views.entries("presence")
            if suspects is None:
                suspects = latest.keys() | presence.keys() | by_log.keys()
            found = await asyncio.to_thread(_differences, suspects, latest, presence, by_log, live, model)
            suspects, difference = found.keys(), next(iter(found.values()), None)
        if difference is None or asyncio.get_running_loop().time() > deadline:
            return ViewsChecked(len(by_log), difference)
        await asyncio.sleep(_EVERY_S)


def _all_views(engine: Engine, model: ReadModel) -> Iterator[DeviceView]:
    after_ref = -1
    with engine.begin() as connection:
        while devices := device_views(connection, model, after_ref, _CHUNK):
            yield from devices
            after_ref = devices[-1].device_ref


def _differences(
    suspects: Collection[str],
    latest: Entries,
    presence: Entries,
    by_log: Mapping[str, DeviceView],
    live: Engine,
    model: ReadModel,
) -> dict[str, str]:
    """The first difference of each of these devices that has one, by device."""
    with live.begin() as connection:
        presences = _presences(connection, model)
        readings = _readings(connection, model, {id_: latest[id_][0] for id_ in suspects if id_ in latest})
    found = {}
    for device_id in sorted(suspects):
        gives = by_log.get(device_id) or DeviceView(-1, device_id, None, None)
        difference = _check_latest(device_id, latest.get(device_id), gives.newest, readings.get(device_id))
        difference = difference or _check_presence(
            device_id, presence.get(device_id), gives.presence, presences.get(device_id)
        )
        if difference is not None:
            found[device_id] = difference
    return found


def _presences(connection: Connection, model: ReadModel) -> dict[str, Presence]:
    table = model.devices.c
    query = select(table.device_id, table.presence_at_ms, table.online, table.boot, table.firmware, table.config)
    return {row[0]: Presence(*row[1:]) for row in connection.execute(query.where(table.presence_at_ms.is_not(None)))}


def _readings(connection: Connection, model: ReadModel, orders: Mapping[str, str]) -> dict[str, Newest]:
    """The readings of these devices that have these orders, as far as they are there."""
    keys = {(device_ref_of(id_), *key): id_ for id_, order in orders.items() if (key := _key_of(order))}
    parts = [
        f"SELECT * FROM {model.readings.name} WHERE device_ref = {ref} AND measured_at_ms = {at_ms} "
        f"AND boot = {boot} AND seq = {seq}"
        for ref, at_ms, boot, seq in keys
    ]
    found: dict[str, Newest] = {}
    for start in range(0, len(parts), _READINGS_PER_STATEMENT):
        for row in execute(connection, " UNION ALL ".join(parts[start : start + _READINGS_PER_STATEMENT])):
            device_id = keys[row[0], row[1], row[2], row[3]]
            found[device_id] = Newest(row[1], row[2], row[3], reading_document(device_id, tuple(row)))
    return found


def _key_of(order: str) -> tuple[int, int, int] | None:
    """Time, boot and seq, as `Newest.order` has put them together."""
    parts = re.fullmatch(r"(\d{15}):([0-9a-f]{8}):(\d{15})", order)
    return (int(parts[1]), int(parts[2], 16), int(parts[3])) if parts else None


def _check_latest(
    device_id: str, entry: tuple[str, bytes] | None, by_log: Newest | None, by_sql: Newest | None
) -> str | None:
    """What is wrong with what Redis shows; `by_sql` is the same reading, if SQL has it."""
    where = f"Redis latest: device {device_id}"
    if entry is None:
        return f"{where}: missing, the log gives {by_log.order()}" if by_log else None
    order, document = entry
    if by_log and order <= by_log.order():
        if order < by_log.order():
            return f"{where}: is of {order}, the log gives {by_log.order()}"
        return _compare_readings(where, document, by_log.document)
    if by_sql is None:
        return f"{where}: is of {order}, which is in no table"
    return _compare_readings(where, document, by_sql.document)


def _compare_readings(where: str, document: bytes, expected: bytes) -> str | None:
    try:
        ours, theirs = decode_reading(document), decode_reading(expected)
    except EventRejected as error:
        return f"{where}: is no reading ({error.detail})"
    for name in ReadingRecorded.__struct_fields__:
        live, rebuilt = _rounded(getattr(ours, name)), _rounded(getattr(theirs, name))
        if live != rebuilt:
            return f"{where}: {name} is {live!r} in Redis and {rebuilt!r} by the log"
    return None


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _check_presence(
    device_id: str, entry: tuple[str, bytes] | None, by_log: Presence | None, by_sql: Presence | None
) -> str | None:
    where = f"Redis presence: device {device_id}"
    if entry is None:
        return f"{where}: missing, the log gives {by_log}" if by_log else None
    order = int(entry[0] or 0)
    if by_log and order < by_log.received_at_ms:
        return f"{where}: is of {order}, the log gives {by_log.received_at_ms}"
    expected = next((one for one in (by_log, by_sql) if one and one.received_at_ms == order), None)
    if expected is None:
        return f"{where}: is of {order}, which is in no table"
    live, rebuilt = json.loads(entry[1]), json.loads(presence_document(expected))
    names = sorted(live.keys() | rebuilt.keys())
    different = next((name for name in names if live.get(name) != rebuilt.get(name)), None)
    if different is None:
        return None
    return f"{where}: {different} is {live.get(different)!r} in Redis and {rebuilt.get(different)!r} by the log"
