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
    LIFECYCLE_TOPIC,
    READINGS_TOPIC,
    REPORTS_TOPIC,
    DeadLettered,
    Headers,
    PresenceChanged,
    ReadingRecorded,
    Report,
    decode_event,
    decode_known_reading,
    decode_reading,
)
from domain.lifecycle.commands import Command
from domain.wire import MAX_AT_MS
from projections.folded import FoldedBatch, LogRecord, Place, Presence, Row, Undated, keep_newest
from projections.lifecycle_folds import decode_lifecycle_record, fold_lifecycle_event
from projections.tables import DEAD_LETTERS, device_ref_of

PROJECTED_TOPICS = (READINGS_TOPIC, REPORTS_TOPIC, DEAD_LETTERS_TOPIC, LIFECYCLE_TOPIC)
_SHORT_NAMES = {
    READINGS_TOPIC: "readings",
    REPORTS_TOPIC: "reports",
    DEAD_LETTERS_TOPIC: DEAD_LETTERS,
    LIFECYCLE_TOPIC: "lifecycle",
}
COMMAND_FAILED = "command_failed"
"""The `reason` of a command's failure among the dead letters; their `origin` is then the command's id."""
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
        if name == READINGS_TOPIC:
            rejected = _fold_readings(folded, records, refused)
        elif name == LIFECYCLE_TOPIC:
            rejected = _fold_lifecycle(folded, partition, records)
        else:
            rejected = _fold_others(folded, name, partition, records, refused)
        for record, error in rejected:
            folded.dead_letters.append(_poison_row(topic, name, partition, record, error))
        folded.next_offsets[topic, partition] = records[-1].offset + 1
        folded.records += len(records)
    return folded


class _Seen:
    """One device while a stretch of its readings is folded: a single look-up per reading finds all of it."""

    __slots__ = ("boot", "boot_number", "device_ref", "document", "first_seen_at_ms", "row")

    def __init__(self, device_ref: int, at_ms: int) -> None:
        self.device_ref, self.first_seen_at_ms = device_ref, at_ms
        self.boot, self.boot_number = "", 0
        self.row: Row = (0, -1)
        self.document = b""


def _fold_readings(
    folded: FoldedBatch, records: Sequence[LogRecord], refused: frozenset[str]
) -> list[tuple[LogRecord, EventRejected]]:
    """Add the readings; those that are none come back. This is the hot path: some µs for each reading."""
    rejected = []
    devices: dict[str, _Seen] = {}
    add = folded.readings.append
    for record in records:
        try:
            value = record.value
            if value is None or _READING_HEADER not in record.headers:
                raise EventRejected("event_type", "not a reading")
            event = decode_known_reading(value)
            at_ms = (event.measured_at - _EPOCH) // _MILLISECOND
            seen = devices.get(event.device_id)
            if seen is None or event.boot != seen.boot or not 0 <= at_ms <= MAX_AT_MS:
                seen = _meet(folded, devices, decode_reading(value), refused)
        except EventRejected as error:
            rejected.append((record, error))
            continue
        row = _reading_row(event, seen, at_ms)
        if row[4] < seen.first_seen_at_ms:
            seen.first_seen_at_ms = row[4]
        if event.up_ms is not None:
            folded.undated.append(Undated(len(folded.readings), event, event.up_ms))
        elif row[1] > seen.row[1] or (row[1] == seen.row[1] and row[2:4] > seen.row[2:4]):
            seen.row, seen.document = row, value
        add(row)
    for device_id, seen in devices.items():
        folded.see(device_id, seen.device_ref, seen.first_seen_at_ms)
        if seen.document:
            keep_newest(folded.newest, device_id, seen.row, seen.document)
    return rejected


def _reading_row(event: ReadingRecorded, seen: _Seen, at_ms: int) -> Row:
    voltage_v, current_a, energy_wh = event.voltage_v, event.current_a, event.energy_wh
    relay, temperature_c = event.relay, event.temperature_c
    return (
        seen.device_ref,
        at_ms,
        seen.boot_number,
        event.seq,
        (event.received_at - _EPOCH) // _MILLISECOND,
        round(event.power_w * 1000),
        None if voltage_v is None else round(voltage_v * 1000),
        None if current_a is None else round(current_a * 1000),
        None if energy_wh is None else round(energy_wh * 1000),
        None if relay is None else int(relay),
        None if temperature_c is None else round(temperature_c * 1000),
        event.rssi_dbm,
    )


def _meet(folded: FoldedBatch, devices: dict[str, _Seen], event: ReadingRecorded, refused: frozenset[str]) -> _Seen:
    """The device, with this boot from now on."""
    seen = devices.get(event.device_id)
    if seen is None:
        device_ref = _ref_of(folded, event.device_id, refused)
        at_ms = to_ms(event.received_at)
        folded.see(event.device_id, device_ref, at_ms)
        seen = devices[event.device_id] = _Seen(device_ref, at_ms)
    seen.boot, seen.boot_number = event.boot, int(event.boot, 16)
    return seen


def _ref_of(folded: FoldedBatch, device_id: str, refused: frozenset[str]) -> int:
    device_ref = device_ref_of(device_id)
    held = folded.devices.get(device_ref)
    if device_id in refused or (held is not None and held.device_id != device_id):
        raise _refusal()
    return device_ref


def _refusal() -> EventRejected:
    return EventRejected("device_ref", "another device has the same surrogate: rename this one")


def _fold_others(
    folded: FoldedBatch, name: str, partition: int, records: Sequence[LogRecord], refused: frozenset[str]
) -> list[tuple[LogRecord, EventRejected]]:
    rejected = []
    for record in records:
        try:
            event = decode_event(record.value, record.headers)
            if isinstance(event, DeadLettered) and name == DEAD_LETTERS_TOPIC:
                folded.dead_letters.append(_letter_row(partition, record.offset, event))
            elif isinstance(event, Report) and name == REPORTS_TOPIC:
                _fold_report(folded, event, record, refused)
            else:
                raise EventRejected("event_type", f"not a record of {name}")
        except EventRejected as error:
            rejected.append((record, error))
    return rejected


def _fold_report(folded: FoldedBatch, event: Report, record: LogRecord, refused: frozenset[str]) -> None:
    device_ref = _ref_of(folded, event.device_id, refused)
    received_at_ms = to_ms(event.received_at)
    report_id = _report_id(record.headers)
    if isinstance(event, PresenceChanged):
        if event.config is not None and not 0 <= event.config <= _BIGGEST:
            raise EventRejected("schema", f"`config` is {event.config}")
        firmware = None if event.firmware is None else event.firmware[:_TEXT_LENGTH]
        presence = Presence(received_at_ms, event.online, event.boot, firmware, event.config, event.retained)
        folded.presences.append((device_ref, presence))
    kind = EVENT_TYPES[type(event)].removeprefix("wattaway.").removesuffix(".v1")
    body = (record.value or b"").decode()
    folded.reports.append((device_ref, report_id, received_at_ms, kind, body))
    folded.see(event.device_id, device_ref, received_at_ms)


def _report_id(headers: Headers) -> str:
    """The record's `ce_id`, or its hash where that is long or no plain text."""
    raw = next((content for name, content in headers if name == "ce_id"), b"")
    if not raw:
        raise EventRejected("event_id", "no `ce_id`")
    if len(raw) <= _REPORT_ID_LENGTH and raw.isascii():
        return raw.decode()
    return f"sha256:{sha256(raw).hexdigest()}"


def _fold_lifecycle(
    folded: FoldedBatch, partition: int, records: Sequence[LogRecord]
) -> list[tuple[LogRecord, EventRejected]]:
    rejected = []
    for record in records:
        try:
            event_type, event = decode_lifecycle_record(record.value, record.headers)
            decided = fold_lifecycle_event(event_type, event)
        except EventRejected as error:
            rejected.append((record, error))
            continue
        if isinstance(event, Command.Failed):
            decided = decided._replace(failure=_failure_row(partition, record, event))
        folded.decided.append(decided)
    return rejected


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


def _failure_row(partition: int, record: LogRecord, event: Command.Failed) -> Row:
    return (
        _SHORT_NAMES[LIFECYCLE_TOPIC],
        partition,
        record.offset,
        to_ms(event.timestamp),
        event.device_id,
        None,
        None,
        COMMAND_FAILED,
        event.reason[:_TEXT_LENGTH],
        str(event.originator_id),
        record.value or b"",
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
