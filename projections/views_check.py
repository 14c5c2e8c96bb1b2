"""Comparing Redis with what the log gives. Redis may be ahead of that, but only by what SQL holds by then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Engine

from domain.errors import EventRejected
from domain.events import ReadingRecorded, decode_reading
from projections.latest_views import LatestViews, presence_document
from projections.newest_rows import DeviceView, device_views
from projections.tables import ReadModel

_WITHIN_S = 10.0
_EVERY_S = 0.25
_CHUNK = 1000


class ViewsChecked(NamedTuple):
    """How many devices were compared, and the first that differs."""

    devices: int
    difference: str | None


async def check_views(views: LatestViews, scratch: Engine, live: Engine, model: ReadModel) -> ViewsChecked:
    """Compare; what differs is looked at again for some seconds, for Redis is written after SQL.

    Args:
        scratch: holds what the log gives, up to a past instant.
        live: the read models, which go on.
    Raises:
        DependencyUnavailable: Redis or SQL.
    """
    deadline = asyncio.get_running_loop().time() + _WITHIN_S
    while True:
        result = await _check_once(views, scratch, live, model)
        if result.difference is None or asyncio.get_running_loop().time() > deadline:
            return result
        await asyncio.sleep(_EVERY_S)


async def _check_once(views: LatestViews, scratch: Engine, live: Engine, model: ReadModel) -> ViewsChecked:
    if not await views.are_complete():
        return ViewsChecked(0, "Redis: the views are not declared complete (no `generation`)")
    latest, presence = await views.entries("latest"), await views.entries("presence")
    by_log = await asyncio.to_thread(lambda: {one.device_id: one for one in _all_views(scratch, model)})
    by_sql = await asyncio.to_thread(lambda: {one.device_id: one for one in _all_views(live, model)})
    for device_id in sorted(latest.keys() | presence.keys() | by_log.keys()):
        least, most = by_log.get(device_id), by_sql.get(device_id)
        difference = _check_latest(device_id, latest.get(device_id), least, most)
        difference = difference or _check_presence(device_id, presence.get(device_id), least, most)
        if difference is not None:
            return ViewsChecked(len(by_log), difference)
    return ViewsChecked(len(by_log), None)


def _all_views(engine: Engine, model: ReadModel) -> Iterator[DeviceView]:
    after_ref = -1
    with engine.begin() as connection:
        while devices := device_views(connection, model, after_ref, _CHUNK):
            yield from devices
            after_ref = devices[-1].device_ref


def _check_latest(
    device_id: str, entry: tuple[str, bytes] | None, least: DeviceView | None, most: DeviceView | None
) -> str | None:
    by_log = least.newest if least else None
    by_sql = most.newest if most else None
    where = f"Redis latest: device {device_id}"
    if entry is None:
        return f"{where}: missing, the log gives {by_log.order()}" if by_log else None
    order, document = entry
    if by_log and order < by_log.order():
        return f"{where}: is of {order}, the log gives {by_log.order()}"
    if by_sql is None or order > by_sql.order():
        return f"{where}: is of {order}, which is in no table"
    expected = next((one for one in (by_log, by_sql) if one and one.order() == order), None)
    if expected is None:
        # Between the two: SQL has gone on since, and Redis is not where either of them is. Look again.
        return f"{where}: is of {order}, SQL has {by_sql.order()}"
    return _compare_readings(where, document, expected.document)


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
    device_id: str, entry: tuple[str, bytes] | None, least: DeviceView | None, most: DeviceView | None
) -> str | None:
    by_log = least.presence if least else None
    by_sql = most.presence if most else None
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
