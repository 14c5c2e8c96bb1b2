"""The data payload, decoded and judged: which of its readings can be true, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from domain.errors import PayloadRejected, ReadingRejected
from domain.strict_json import refuse_doubled_keys
from domain.wire import CLOCK_AHEAD_LIMIT_MS, MAX_PAYLOAD_BYTES, MAX_READINGS_PER_PAYLOAD, Boot, Seq, WireReading

_decode_data = msgspec.json.Decoder(WireReading | list[WireReading]).decode
_decode_reading = msgspec.json.Decoder(WireReading).decode
_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class RejectedReading(NamedTuple):
    """A reading that becomes a dead letter; `boot` and `seq` where they could still be read, for its receipt."""

    raw: bytes
    error: ReadingRejected
    boot: str | None = None
    seq: int | None = None


class DecodedData(NamedTuple):
    """What one data payload held."""

    readings: list[WireReading]
    rejected: list[RejectedReading]


def decode_data(payload: bytes, *, received_at_ms: int, max_age_ms: int) -> DecodedData:
    """The readings of one data payload that can be true, and the others with what is wrong with each.

    Args:
        payload: a JSON object or a list of up to 500 of them.
        received_at_ms: the bridge's clock when the PUBLISH arrived; ms since 1970 UTC.
        max_age_ms: readings older than this before `received_at_ms` are rejected.
    Raises:
        PayloadRejected: too large, not JSON, or neither an object nor a list of at most 500.
    Source: docs/protocol.md, "Data".
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadRejected("too_large", f"{len(payload)} bytes are more than {MAX_PAYLOAD_BYTES}")
    dates = _Dates(received_at_ms - max_age_ms, received_at_ms + CLOCK_AHEAD_LIMIT_MS, max_age_ms)
    try:
        decoded = _decode_data(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_one_by_one(payload, dates)
    readings = decoded if type(decoded) is list else [decoded]
    if len(readings) > MAX_READINGS_PER_PAYLOAD:
        raise PayloadRejected("too_many", f"{len(readings)} readings are more than {MAX_READINGS_PER_PAYLOAD}")
    # Each member has one colon, so an equal count proves that none is doubled or unknown.
    members = 0
    oldest_ms, newest_ms, _ = dates
    for reading in readings:
        members += _count_members(reading)
        at = reading.at
        if at is None or reading.up is not None or not oldest_ms <= at <= newest_ms:
            return _decode_one_by_one(payload, dates)
    if payload.count(b":") != members:
        return _decode_one_by_one(payload, dates)
    return DecodedData(readings, [])


class _Dates(NamedTuple):
    """When a reading can have been taken."""

    oldest_ms: int
    newest_ms: int
    max_age_ms: int


def _count_members(reading: WireReading) -> int:
    return 11 - (
        (reading.at is None)
        + (reading.up is None)
        + (reading.voltage_mv is None)
        + (reading.current_ma is None)
        + (reading.energy_mwh is None)
        + (reading.relay is None)
        + (reading.temperature_mc is None)
        + (reading.rssi_dbm is None)
    )


def newest_ups(readings: Iterable[WireReading]) -> dict[str, int]:
    """Per `boot` the highest `up` of the readings without a clock: that one counts as taken just now."""
    newest: dict[str, int] = {}
    for reading in readings:
        if reading.up is not None and reading.up > newest.get(reading.boot, -1):
            newest[reading.boot] = reading.up
    return newest


def _decode_one_by_one(payload: bytes, dates: _Dates) -> DecodedData:
    taken: list[tuple[bytes, WireReading]] = []
    rejected: list[RejectedReading] = []
    for raw in _split(payload):
        try:
            taken.append((raw, _decode_strictly(raw, dates)))
        except ReadingRejected as error:
            rejected.append(RejectedReading(raw, error, *_salvage_identity(raw)))
    newest = newest_ups(reading for _, reading in taken)
    readings: list[WireReading] = []
    for raw, reading in taken:
        if reading.up is not None and newest[reading.boot] - reading.up > dates.max_age_ms:
            too_old = ReadingRejected("too_old", "`up` is further behind the newest one than the retention")
            rejected.append(RejectedReading(raw, too_old, reading.boot, reading.seq))
        else:
            readings.append(reading)
    return DecodedData(readings, rejected)


def _split(payload: bytes) -> list[bytes]:
    if not payload.lstrip(b" \t\r\n").startswith(b"["):
        return [payload]
    try:
        items = _split_list(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadRejected("not_json", str(error)) from error
    if len(items) > MAX_READINGS_PER_PAYLOAD:
        raise PayloadRejected("too_many", f"{len(items)} readings are more than {MAX_READINGS_PER_PAYLOAD}")
    return [bytes(item) for item in items]


def _decode_strictly(raw: bytes, dates: _Dates) -> WireReading:
    try:
        refuse_doubled_keys(raw)
        reading = _decode_reading(raw)
    except msgspec.ValidationError as error:
        raise ReadingRejected("schema", str(error)) from error
    except PayloadRejected as error:
        raise ReadingRejected(error.reason, error.detail) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReadingRejected("not_json", str(error) or type(error).__name__) from error
    if (reading.at is None) == (reading.up is None):
        raise ReadingRejected("clock_missing", "exactly one of `at` and `up` is needed")
    if reading.at is not None and reading.at > dates.newest_ms:
        raise ReadingRejected("clock_ahead", f"`at` is {reading.at - dates.newest_ms} ms beyond the 2 min allowed")
    if reading.at is not None and reading.at < dates.oldest_ms:
        raise ReadingRejected("too_old", f"`at` is {dates.oldest_ms - reading.at} ms older than the retention")
    return reading


class _Identity(msgspec.Struct, gc=False):
    boot: Boot
    seq: Seq


_decode_identity = msgspec.json.Decoder(_Identity).decode


def _salvage_identity(raw: bytes) -> tuple[str | None, int | None]:
    try:
        identity = _decode_identity(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    return identity.boot, identity.seq
