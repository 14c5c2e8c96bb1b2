"""A stored event as its Kafka record: the state's bytes are the value, the rest stands in CloudEvents headers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import structlog
from eventsourcing.persistence import Notification
from msgspec import Meta

from domain.clock import to_ms
from domain.device_ids import DEVICE_ID_PATTERN
from domain.events import LIFECYCLE_TOPIC, Header, Record, source_header

log = structlog.get_logger()


class _Envelope(msgspec.Struct, gc=False):
    """What a record's headers need of an event."""

    timestamp: Annotated[datetime, Meta(tz=True)]
    device_id: Annotated[str, Meta(pattern=DEVICE_ID_PATTERN + r"(?!\n)")] | None = None


_decode = msgspec.json.Decoder(_Envelope).decode
_encode = msgspec.json.Encoder().encode


def lifecycle_record(event: Notification, now_ms: int) -> Record:
    """The record of an event; its key is the device's id where it has one, so that what happens to a device is read in
    one order with what the device reports; else the aggregate's id.

    An event without a readable envelope goes out all the same, so that it holds up nothing; its consumers tell.

    Args:
        now_ms: the record's instant if the event has none.
    """
    headers: list[Header] = [
        ("ce_specversion", b"1.0"),
        ("ce_type", event.topic.encode()),
        ("content-type", b"application/json"),
        ("ce_id", f"{event.originator_id}:{event.originator_version}".encode()),
    ]
    key, at_ms = str(event.originator_id), now_ms
    try:
        envelope = _decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        log.error("event without an envelope", notification_id=event.id, event_type=event.topic, error=str(error))
        headers.append(("ce_source", b"/lifecycle"))
    else:
        key, at_ms = envelope.device_id or key, to_ms(envelope.timestamp)
        headers.append(source_header(envelope.device_id) if envelope.device_id else ("ce_source", b"/lifecycle"))
        headers.append(("ce_time", _encode(envelope.timestamp)[1:-1]))
    return Record(LIFECYCLE_TOPIC, key.encode(), event.state, headers, at_ms)
