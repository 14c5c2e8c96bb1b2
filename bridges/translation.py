"""From MQTT messages to records of the log: pure, and total (whatever comes becomes a record)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import structlog

from bridges.intake import Message
from domain.data_payload import decode_data
from domain.errors import InvalidInput
from domain.events import Record, dead_letter, dead_letter_record, report_record
from domain.from_wire import reading_records, report_of
from domain.wire import decode_status, parse_device_topic

log = structlog.get_logger()

MAX_RAW_BYTES = 64 * 1024
_MAX_ORIGIN_CHARS = 300


@dataclass(slots=True)
class Translated:
    """The records of some messages, and whom to tell once they are in the log."""

    records: list[Record] = field(default_factory=list)
    settled: list[tuple[str, str, int]] = field(default_factory=list)
    """(device id, boot, seq) of every reading, accepted or refused, that could be identified."""
    readings: int = 0
    reports: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Dead letters by reason."""
    last_rejection: str = ""


class Translator:
    """Turns messages into records.

    Args:
        max_age_ms: older readings become dead letters.
    """

    def __init__(self, *, max_age_ms: int) -> None:
        self._max_age_ms = max_age_ms
        self.devices: set[str] = set()

    def translate(self, messages: list[Message]) -> Translated:
        """The records of these messages, in their order."""
        into = Translated()
        for message in messages:
            try:
                self._translate(message, into)
            except InvalidInput as error:
                _bury(message, error.reason, error.detail, into)
            except Exception as error:
                # A bug of ours must neither lose a message nor stop the stream behind it.
                log.exception("message not translated", topic=message.topic[:_MAX_ORIGIN_CHARS])
                _bury(message, "internal", f"{type(error).__name__} in the bridge", into)
        return into

    def _translate(self, message: Message, into: Translated) -> None:
        device_id, channel = parse_device_topic(message.topic)
        if channel == "data":
            self._data(device_id, message, into)
        elif channel == "status":
            status, at_ms = decode_status(message.payload), message.received_at_ms
            report = report_of(device_id, status, received_at_ms=at_ms, retained=message.retained)
            into.records.append(report_record(report))
            into.reports += 1
        else:
            _bury(message, "topic", f"{channel[:80]!r} is neither `data` nor `status`", into)
            return
        self.devices.add(device_id)

    def _data(self, device_id: str, message: Message, into: Translated) -> None:
        received_at_ms = message.received_at_ms
        data = decode_data(message.payload, received_at_ms=received_at_ms, max_age_ms=self._max_age_ms)
        into.records += reading_records(device_id, data.readings, received_at_ms=received_at_ms)
        into.readings += len(data.readings)
        into.settled += [(device_id, reading.boot, reading.seq) for reading in data.readings]
        for refused in data.rejected:
            letter = dead_letter(
                refused.error.reason,
                refused.error.detail,
                origin=_origin(message),
                raw=refused.raw[:MAX_RAW_BYTES],
                received_at_ms=received_at_ms,
                device_id=device_id,
                boot=refused.boot,
                seq=refused.seq,
            )
            into.records.append(dead_letter_record(letter))
            into.rejected[refused.error.reason] += 1
            into.last_rejection = f"{letter.origin}: {refused.error.detail}"
            if refused.boot is not None and refused.seq is not None:
                into.settled.append((device_id, refused.boot, refused.seq))


def _bury(message: Message, reason: str, detail: str, into: Translated) -> None:
    """Make a whole message a dead letter."""
    size = len(message.payload)
    if size > MAX_RAW_BYTES:
        detail = f"{detail}; the first {MAX_RAW_BYTES} of {size} bytes are kept"
    letter = dead_letter(
        reason,
        detail,
        origin=_origin(message),
        raw=message.payload[:MAX_RAW_BYTES],
        received_at_ms=message.received_at_ms,
        device_id=_device_of(message.topic),
    )
    into.records.append(dead_letter_record(letter))
    into.rejected[reason] += 1
    into.last_rejection = f"{letter.origin}: {detail}"


def _origin(message: Message) -> str:
    return f"mqtt:{message.topic[:_MAX_ORIGIN_CHARS]}"


def _device_of(topic: str) -> str | None:
    try:
        return parse_device_topic(topic)[0]
    except InvalidInput:
        return None
