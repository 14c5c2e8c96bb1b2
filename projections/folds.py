"""Records of the log → rows of the read models: pure, so equal records give equal rows whoever folds them.

What is no event of ours becomes a dead letter under its own place in the log, and the stream goes on.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from domain.clock import to_ms
from domain.device_ids import DEVICE_ID_PATTERN
from domain.errors import EventRejected
from domain.events import (
    DEAD_LETTERS_TOPIC,
    EVENT_TYPES,
    READINGS_TOPIC,
    REPORTS_TOPIC,
    TOPIC_EVENTS,
    DeadLettered,
    Event,
    PresenceChanged,
    ReadingRecorded,
    decode_event,
    decode_reading,
)
from projections.folded import Device, FoldedBatch, Headers, LogRecord, Place, Presence, Row, Undated, keep_newest
from projections.tables import DEAD_LETTERS, device_ref_of

PROJECTED_TOPICS = (READINGS_TOPIC, REPORTS_TOPIC, DEAD_LETTERS_TOPIC)
_SHORT_NAMES = {READINGS_TOPIC: "readings", REPORTS_TOPIC: "reports", DEAD_LETTERS_TOPIC: DEAD_LETTERS}
_READING_HEADER = ("ce_type", EVENT_TYPES[ReadingRecorded].encode())
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_BIGGEST = 2**63 - 1
_TEXT_LENGTH = 500
_REPORT_ID_LENGTH = 250
_is_device_id = re.compile(DEVICE_ID_PATTERN[1:-1]).fullmatch
_is_boot = re.compile("[0-9a-f]{8}").fullmatch


def fold_records(
    batch: Mapping[Place, Sequence[LogRecord]], *, prefix: str = "", refused: frozenset[str] = frozenset()
) -> FoldedBatch:
    """What these records add, in the order of the log.

    Args:
        batch: by topic (with `prefix`) and partition.
        refused: ids of devices whose surrogate belongs to another device: all they say is a dead letter.
    """
    folded = FoldedBatch()
    for (topic, partition), records in batch.items():
        if not records:
            continue
        name = topic.removeprefix(prefix)
        fold = _fold_reading if name == READINGS_TOPIC else _fold_other
        for record in records:
            try:
                fold(folded, name, partition, record, refused)
            except EventRejected as error:
                folded.dead_letters.append(_poison_row(topic, name, partition, record, error))
        folded.next_offsets[topic, partition] = records[-1].offset + 1
        folded.records += len(records)
    return folded


def _fold_reading(folded: FoldedBatch, name: str, _partition: int, record: LogRecord, refused: frozenset[str]) -> None:
    headers = record.headers
    value = record.value
    if value is None or _READING_HEADER not in headers:
        raise EventRejected("event_type", f"not a record of {name}")
    event = decode_reading(value)
    device_id = event.device_id
    if refused and device_id in refused:
        raise _refusal()
    device_ref = device_ref_of(device_id)
    measured_at_ms = (event.measured_at - _EPOCH) // _MILLISECOND
    received_at_ms = (event.received_at - _EPOCH) // _MILLISECOND
    boot = int(event.boot, 16)
    voltage_v, current_a, energy_wh, temperature_c = (
        event.voltage_v,
        event.current_a,
        event.energy_wh,
        event.temperature_c,
    )
    relay = event.relay
    row = (
        device_ref,
        measured_at_ms,
        boot,
        event.seq,
        received_at_ms,
        round(event.power_w * 1000),
        None if voltage_v is None else round(voltage_v * 1000),
        None if current_a is None else round(current_a * 1000),
        None if energy_wh is None else round(energy_wh * 1000),
        None if relay is None else int(relay),
        None if temperature_c is None else round(temperature_c * 1000),
        event.rssi_dbm,
    )
    seen = folded.devices.get(device_ref)
    if seen is None or received_at_ms < seen.first_seen_at_ms:
        folded.devices[device_ref] = _same_device(seen, device_id, received_at_ms)
    if event.up_ms is not None:
        folded.undated.append(Undated(len(folded.readings), event, event.up_ms))
    else:
        keep_newest(folded.newest, device_id, row, value)
    folded.readings.append(row)


def _same_device(seen: Device | None, device_id: str, at_ms: int) -> Device:
    if seen is not None and seen.device_id != device_id:
        raise _refusal()
    return Device(device_id, at_ms)


def _refusal() -> EventRejected:
    return EventRejected("device_ref", "another device has the same surrogate: rename this one")


def _fold_other(folded: FoldedBatch, name: str, partition: int, record: LogRecord, refused: frozenset[str]) -> None:
    event = decode_event(record.value, list(record.headers))
    if not isinstance(event, TOPIC_EVENTS.get(name, ())):
        raise EventRejected("event_type", f"not a record of {name}")
    if isinstance(event, DeadLettered):
        folded.dead_letters.append(_letter_row(partition, record.offset, event))
    else:
        _fold_report(folded, event, record, refused)


def _fold_report(folded: FoldedBatch, event: Event, record: LogRecord, refused: frozenset[str]) -> None:
    device_id = event.device_id
    if device_id is None or device_id in refused:
        raise _refusal()
    device_ref = device_ref_of(device_id)
    received_at_ms = to_ms(event.received_at)
    report_id = _report_id(record.headers)
    _same_device(folded.devices.get(device_ref), device_id, received_at_ms)
    if isinstance(event, PresenceChanged):
        if event.config is not None and not 0 <= event.config <= _BIGGEST:
            raise EventRejected("schema", f"`config` is {event.config}")
        firmware = None if event.firmware is None else event.firmware[:_TEXT_LENGTH]
        presence = Presence(received_at_ms, event.online, event.boot, firmware, event.config)
        folded.presences[device_ref] = presence.after(folded.presences.get(device_ref))
    kind = EVENT_TYPES[type(event)].removeprefix("wattaway.").removesuffix(".v1")
    body = (record.value or b"").decode()
    folded.reports.append((device_ref, report_id, received_at_ms, kind, body))
    folded.see(device_id, device_ref, received_at_ms)


def _report_id(headers: Headers) -> str:
    """The record's `ce_id`, or its hash where that is long or no plain text."""
    raw = next((content for name, content in headers if name == "ce_id"), b"")
    if not raw:
        raise EventRejected("event_id", "no `ce_id`")
    if len(raw) <= _REPORT_ID_LENGTH and raw.isascii():
        return raw.decode()
    return f"sha256:{sha256(raw).hexdigest()}"


# --- dead letters ---------------------------------------------------------------------------------------


def _letter_row(partition: int, offset: int, event: DeadLettered) -> Row:
    try:
        raw = event.raw_bytes()
    except (binascii.Error, ValueError) as error:
        raise EventRejected("schema", f"`raw` is not base64: {error}") from error
    return (
        DEAD_LETTERS,
        partition,
        offset,
        to_ms(event.received_at),
        _if(_is_device_id, event.device_id),
        _if(_is_boot, event.boot),
        event.seq if event.seq is not None and 0 <= event.seq <= _BIGGEST else None,
        _reason(event.reason),
        event.detail[:_TEXT_LENGTH],
        event.origin[:_TEXT_LENGTH],
        raw,
    )


def _poison_row(topic: str, name: str, partition: int, record: LogRecord, error: EventRejected) -> Row:
    key = (record.key or b"").decode(errors="replace")
    return (
        _SHORT_NAMES.get(name, name[:64]),
        partition,
        record.offset,
        record.timestamp,
        _if(_is_device_id, key),
        None,
        None,
        _reason(error.reason),
        error.detail[:_TEXT_LENGTH],
        f"kafka:{topic}/{partition}/{record.offset}"[:_TEXT_LENGTH],
        record.value or b"",
    )


def _if(matches: Callable[[str], object], text: str | None) -> str | None:
    return text if text is not None and matches(text) else None


def _reason(reason: str) -> str:
    return reason.encode("ascii", "replace").decode()[:64]
