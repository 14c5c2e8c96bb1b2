"""A reading as the read models keep it, back as the event's document, and whether its device is online."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row

from domain.clock import to_instant
from domain.events import ReadingRecorded

_encode = msgspec.json.Encoder().encode


class SeenReading(msgspec.Struct, frozen=True, gc=False):
    """The members of a reading's document that tell when its device was heard and what it draws."""

    device_id: str
    received_at: datetime
    power_w: float


decode_seen = msgspec.json.Decoder(SeenReading).decode


class Presence(NamedTuple):
    """What a device (or its last will) said last about itself; both None if it never did."""

    online: bool | None
    at_ms: int | None


class Heard(NamedTuple):
    """What is known about a device's link."""

    online: bool
    last_seen_at_ms: int | None


def judge_link(presence: Presence, reading_at_ms: int | None, *, now_ms: int, offline_after_s: int) -> Heard:
    """Online: it said so, or a reading came after it said goodbye; and it was heard within `offline_after_s`.

    Args:
        reading_at_ms: when its latest reading was received.
    """
    said_hello_at = presence.at_ms if presence.online else None
    heard = [at for at in (said_hello_at, reading_at_ms) if at is not None]
    if not heard:
        return Heard(False, presence.at_ms)
    last_seen = max(heard)
    gone = presence.online is False and presence.at_ms is not None and presence.at_ms >= last_seen
    return Heard(not gone and now_ms - last_seen <= offline_after_s * 1000, last_seen)


def reading_document(device_id: str, row: Row[Any]) -> bytes:
    """The JSON document of a row of `readings`, as it stands in Kafka and Redis."""
    return _encode(
        ReadingRecorded(
            device_id=device_id,
            boot=f"{row.boot:08x}",
            seq=row.seq,
            measured_at=to_instant(row.measured_at_ms),
            received_at=to_instant(row.received_at_ms),
            power_w=row.power_mw / 1000,
            voltage_v=_thousandth(row.voltage_mv),
            current_a=_thousandth(row.current_ma),
            energy_wh=_thousandth(row.energy_mwh),
            relay=None if row.relay is None else bool(row.relay),
            temperature_c=_thousandth(row.temperature_mc),
            rssi_dbm=row.rssi_dbm,
        )
    )


def _thousandth(number: int | None) -> float | None:
    return None if number is None else number / 1000
