"""The events of the Kafka log: CloudEvents 1.0 in binary mode, plain JSON values in SI units.

Every event knows its record: topic, key, headers and value. `ce_source` + `ce_id` identify it forever, so a
record that stands in the log twice is the same event.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

import msgspec
from msgspec import Meta

from domain.clock import to_instant, to_ms
from domain.device_ids import DEVICE_ID_PATTERN
from domain.errors import EventRejected
from domain.wire import (
    MAX_AT_MS,
    MAX_CURRENT_MA,
    MAX_ENERGY_MWH,
    MAX_POWER_MW,
    MAX_VOLTAGE_MV,
    Boot,
    Seq,
    UpMs,
)

READINGS_TOPIC = "wattaway.readings.v1"
REPORTS_TOPIC = "wattaway.reports.v1"
LIFECYCLE_TOPIC = "wattaway.lifecycle.v1"
DEAD_LETTERS_TOPIC = "wattaway.dead-letters.v1"

Header = tuple[str, bytes]
Headers = Sequence[tuple[str, bytes | None]]
"""As Kafka gives them back: anybody may have written a null."""
# In Python `$` also matches before a line end, which no device id has.
DeviceId = Annotated[str, Meta(pattern=DEVICE_ID_PATTERN + r"(?!\n)")]
Instant = Annotated[datetime, Meta(tz=True)]


class Record(NamedTuple):
    """One Kafka record, ready to append."""

    topic: str
    key: bytes
    value: bytes
    headers: list[Header]
    timestamp_ms: int


class ReadingRecorded(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A socket measured. Source: the data payload of docs/protocol.md."""

    device_id: DeviceId
    boot: Boot
    seq: Seq
    measured_at: Instant
    received_at: Instant
    power_w: Annotated[float, Meta(ge=0, le=MAX_POWER_MW / 1000)]
    voltage_v: Annotated[float, Meta(ge=0, le=MAX_VOLTAGE_MV / 1000)] | None = None
    current_a: Annotated[float, Meta(ge=0, le=MAX_CURRENT_MA / 1000)] | None = None
    energy_wh: Annotated[float, Meta(ge=0, le=MAX_ENERGY_MWH / 1000)] | None = None
    relay: bool | None = None
    temperature_c: Annotated[float, Meta(ge=-60, le=200)] | None = None
    rssi_dbm: Annotated[int, Meta(ge=-130, le=0)] | None = None
    up_ms: UpMs | None = None
    """Set when the socket had no clock: `measured_at` is then the bridge's estimate for this `boot`."""


class PresenceChanged(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A socket said that it is there, or its last will said that it is gone."""

    device_id: DeviceId
    online: bool
    received_at: Instant
    boot: Boot | None = None
    firmware: str | None = None
    config: int | None = None
    retained: bool = False
    """The broker had kept it for whoever subscribes: it was said some time ago, maybe by a socket that is gone."""


class CommandReported(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A socket said how a command ended."""

    device_id: DeviceId
    command_id: str
    result: Literal["done", "rejected"]
    received_at: Instant
    relay: bool | None = None
    reason: str | None = None
    reported_at: Instant | None = None


class DeviceEventReported(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Something happened at a socket, such as a trip."""

    device_id: DeviceId
    event: str
    received_at: Instant
    reported_at: Instant | None = None
    details: dict[str, Any] = {}


class DeadLettered(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Input that could not be taken: why, where it came from, and its raw bytes."""

    reason: str
    detail: str
    origin: str
    """`mqtt:devices/x/data`, or `kafka:topic/partition/offset`."""
    raw: Annotated[str, Meta(description="base64 of the bytes as they came")]
    received_at: Instant
    device_id: str | None = None
    boot: str | None = None
    seq: int | None = None

    def raw_bytes(self) -> bytes:
        return base64.b64decode(self.raw)


Report = PresenceChanged | CommandReported | DeviceEventReported
Event = ReadingRecorded | Report | DeadLettered

EVENT_TYPES: Mapping[type[Any], str] = {
    ReadingRecorded: "wattaway.reading-recorded.v1",
    PresenceChanged: "wattaway.presence-changed.v1",
    CommandReported: "wattaway.command-reported.v1",
    DeviceEventReported: "wattaway.device-event-reported.v1",
    DeadLettered: "wattaway.dead-lettered.v1",
}
TOPIC_EVENTS: Mapping[str, tuple[type[Any], ...]] = {
    READINGS_TOPIC: (ReadingRecorded,),
    REPORTS_TOPIC: (PresenceChanged, CommandReported, DeviceEventReported),
    DEAD_LETTERS_TOPIC: (DeadLettered,),
}

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_MARK_LENGTH = 16
_decoders = {name.encode(): msgspec.json.Decoder(event).decode for event, name in EVENT_TYPES.items()}
_READING_TYPE = EVENT_TYPES[ReadingRecorded].encode()
_decode_reading = _decoders[_READING_TYPE]


def _without_patterns() -> type[Any]:
    """`ReadingRecorded` whose `device_id` and `boot` may be any text."""
    given: list[Any] = []
    for each in msgspec.structs.fields(ReadingRecorded):
        kind = str if each.name in ("device_id", "boot") else each.type
        given.append((each.name, kind) if each.required else (each.name, kind, each.default))
    return msgspec.defstruct("ReadingRecorded", given, frozen=True, gc=False, omit_defaults=True)


_decode_without_patterns = msgspec.json.Decoder(_without_patterns()).decode
_FIXED_HEADERS: Mapping[type[Any], list[Header]] = {
    event: [
        ("ce_specversion", b"1.0"),
        ("ce_type", name.encode()),
        ("content-type", b"application/json"),
    ]
    for event, name in EVENT_TYPES.items()
}
_READING_HEADERS = _FIXED_HEADERS[ReadingRecorded]


# --- made here ----------------------------------------------------------------------------------------


def dead_letter(
    reason: str,
    detail: str,
    *,
    origin: str,
    raw: bytes,
    received_at_ms: int,
    device_id: str | None = None,
    boot: str | None = None,
    seq: int | None = None,
) -> DeadLettered:
    """The event of input that could not be taken."""
    encoded = base64.b64encode(raw).decode()
    return DeadLettered(reason, detail, origin, encoded, to_instant(received_at_ms), device_id, boot, seq)


# --- to and from Kafka ----------------------------------------------------------------------------------


def reading_record(event: ReadingRecorded) -> Record:
    """The Kafka record of a reading: key = device id, `ce_id` = boot:seq within the device's `ce_source`."""
    device_id = event.device_id
    return encode_reading_record(event, device_id.encode(), source_header(device_id), to_ms(event.measured_at))


def encode_reading_record(event: ReadingRecorded, key: bytes, source: Header, at_ms: int) -> Record:
    """`reading_record` for whoever knows the device's key and source, and the event's instant, already."""
    headers = [
        *_READING_HEADERS,
        ("ce_id", f"{event.boot}:{event.seq}".encode()),
        source,
        ("ce_time", _encode(event.measured_at)[1:-1]),
    ]
    return Record(READINGS_TOPIC, key, _encode(event), headers, at_ms)


def source_header(device_id: str) -> Header:
    """The `ce_source` of a device's events."""
    return ("ce_source", f"/devices/{device_id}".encode())


def report_record(event: Report) -> Record:
    """The Kafka record of a report; the same fact at the same instant has the same `ce_id`.

    Source: docs/protocol.md, "Kafka".
    """
    match event:
        case PresenceChanged():
            said = f"{event.boot or '-'}:{'on' if event.online else 'off'}"
            at = "retained" if event.retained else to_ms(event.received_at)
            identity = f"presence:{said}:{at}{_mark_of({'firmware': event.firmware, 'config': event.config})}"
        case CommandReported():
            identity = f"command:{quote(event.command_id, safe='')}:{event.result}"
        case DeviceEventReported():
            at_ms = to_ms(event.reported_at or event.received_at)
            identity = f"event:{quote(event.event, safe='')}:{at_ms}{_mark_of(event.details)}"
    return _record(REPORTS_TOPIC, event.device_id, identity, event, event.received_at)


def _mark_of(details: Mapping[str, Any]) -> str:
    """What tells apart two events of one name at one instant; the same details, in whatever order, give the same."""
    return f":{sha256(_encode_sorted(details)).hexdigest()[:_MARK_LENGTH]}" if details else ""


def dead_letter_record(event: DeadLettered) -> Record:
    """The Kafka record of a dead letter; key = device id where it is known. Equal bytes that came at once are one."""
    mark = sha256(event.raw.encode()).hexdigest()[:_MARK_LENGTH]
    identity = f"{quote(event.origin, safe=':/')}:{to_ms(event.received_at)}:{mark}"
    return _record(DEAD_LETTERS_TOPIC, event.device_id or "", identity, event, event.received_at)


def _record(topic: str, device_id: str, identity: str, event: Event, at: datetime) -> Record:
    headers = [
        *_FIXED_HEADERS[type(event)],
        ("ce_id", identity.encode()),
        ("ce_source", (f"/devices/{device_id}" if device_id else "/bridges").encode()),
        ("ce_time", _encode(at)[1:-1]),
    ]
    return Record(topic, device_id.encode(), _encode(event), headers, to_ms(at))


def decode_reading(value: bytes) -> ReadingRecorded:
    """The reading in a record's value.

    Raises:
        EventRejected: not a reading event, or with values no socket can have.
    """
    try:
        _check_text(value)
        event: ReadingRecorded = _decode_reading(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EventRejected("schema", str(error)) from error
    if not 0 <= to_ms(event.measured_at) <= MAX_AT_MS:
        raise EventRejected("schema", "`measured_at` is not between 1970 and 2100")
    return event


def decode_known_reading(value: bytes) -> ReadingRecorded:
    """`decode_reading` for whoever has met this device and boot, and looks at the instant himself.

    It takes any text for a device id or boot, and any instant. Matching the two patterns costs more than all the rest.

    Raises:
        EventRejected: not a reading event, or with values no socket can have.
    """
    try:
        _check_text(value)
        event: ReadingRecorded = _decode_without_patterns(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EventRejected("schema", str(error)) from error
    return event


def decode_event(value: bytes | None, headers: Headers) -> Event:
    """The event in a record of any of our topics, told apart by `ce_type`.

    Raises:
        EventRejected: no or an unknown `ce_type`, or a value that does not fit it.
    """
    ce_type = next((content for name, content in headers if name == "ce_type"), None) or b""
    decode = _decoders.get(ce_type)
    if decode is None or value is None:
        raise EventRejected("event_type", f"{ce_type[:80]!r} is not an event type of ours")
    if ce_type == _READING_TYPE:
        return decode_reading(value)
    try:
        _check_text(value)
        event: Event = decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EventRejected("schema", str(error)) from error
    return event


def _check_text(value: bytes) -> None:
    """Raise UnicodeDecodeError if it is not UTF-8; msgspec does not look into members that no event has."""
    if not value.isascii():
        value.decode()
