"""Each device's newest reading and presence, from SQL: what the latest views are filled from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from domain.clock import to_instant
from domain.events import ReadingRecorded
from projections.dialect import execute
from projections.folded import Newest, Presence, Row
from projections.tables import ReadModel

_encode = msgspec.json.Encoder().encode
_DEVICES_PER_STATEMENT = 200


class DeviceView(NamedTuple):
    """What the views say of a device."""

    device_ref: int
    device_id: str
    newest: Newest | None
    presence: Presence | None


def device_views(connection: Connection, model: ReadModel, after_ref: int, limit: int) -> list[DeviceView]:
    """Up to `limit` devices whose surrogate is above `after_ref`, in its order."""
    table = model.devices.c
    query = select(
        table.device_ref, table.device_id, table.presence_at_ms, table.online, table.boot, table.firmware, table.config
    )
    rows = connection.execute(query.where(table.device_ref > after_ref).order_by(table.device_ref).limit(limit)).all()
    readings = newest_readings(connection, model, [row[0] for row in rows])
    return [_view(tuple(row), readings.get(row[0])) for row in rows]


def newest_readings(connection: Connection, model: ReadModel, device_refs: Sequence[int]) -> dict[int, Row]:
    """The row of each device's newest reading; none for a device without readings."""
    found: dict[int, Row] = {}
    for start in range(0, len(device_refs), _DEVICES_PER_STATEMENT):
        parts = [
            f"SELECT * FROM (SELECT * FROM {model.readings.name} WHERE device_ref = {ref} "
            f"ORDER BY measured_at_ms DESC, boot DESC, seq DESC LIMIT 1) AS newest_{ref}"
            for ref in device_refs[start : start + _DEVICES_PER_STATEMENT]
        ]
        found.update((row[0], tuple(row)) for row in execute(connection, " UNION ALL ".join(parts)))
    return found


def _view(device: Row, reading: Row | None) -> DeviceView:
    ref, device_id, presence_at_ms, online, boot, firmware, config = device
    presence = None if presence_at_ms is None else Presence(presence_at_ms, bool(online), boot, firmware, config)
    newest = (
        None if reading is None else Newest(reading[1], reading[2], reading[3], reading_document(device_id, reading))
    )
    return DeviceView(ref, device_id, newest, presence)


def reading_document(device_id: str, row: Row) -> bytes:
    """The JSON of the `ReadingRecorded` that this row of `readings` came from, dated."""
    _, measured_at_ms, boot, seq, received_at_ms, power, voltage, current, energy, relay, temperature, rssi = row
    return _encode(
        ReadingRecorded(
            device_id,
            f"{boot:08x}",
            seq,
            to_instant(measured_at_ms),
            to_instant(received_at_ms),
            power / 1000,
            _thousandth(voltage),
            _thousandth(current),
            _thousandth(energy),
            None if relay is None else bool(relay),
            _thousandth(temperature),
            rssi,
        )
    )


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1000
