"""The MQTT wire between a socket and the engine: topics and JSON payloads, exactly as docs/protocol.md says.

Integers only, so that a board with 32-bit floats stays exact: mV, mA, mW, mWh, m°C, ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from domain.device_ids import parse_device_id
from domain.errors import InvalidDeviceId, PayloadRejected, ReadingRejected

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_READINGS_PER_PAYLOAD = 500
CLOCK_AHEAD_LIMIT_MS = 120_000

# A 16 A, 400 V socket, with a quarter of headroom on the current for the overload that trips it.
MAX_VOLTAGE_MV = 400_000
MAX_CURRENT_MA = 20_000
MAX_POWER_MW = MAX_VOLTAGE_MV * MAX_CURRENT_MA // 1000
MAX_ENERGY_MWH = 10**13
MAX_SEQ = 2**48
MAX_AT_MS = 4_102_444_800_000  # 2100-01-01

Boot = Annotated[str, Meta(pattern="^[0-9a-f]{8}$", description="random at each start of the device")]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ, description="counts readings since `boot`")]
AtMs = Annotated[int, Meta(ge=0, le=MAX_AT_MS, description="ms since 1970 UTC")]
UpMs = Annotated[int, Meta(ge=0, le=2**48, description="ms since boot, from a device without a clock")]
Millivolts = Annotated[int, Meta(ge=0, le=MAX_VOLTAGE_MV)]
Milliamperes = Annotated[int, Meta(ge=0, le=MAX_CURRENT_MA)]
Milliwatts = Annotated[int, Meta(ge=0, le=MAX_POWER_MW)]
MilliwattHours = Annotated[int, Meta(ge=0, le=MAX_ENERGY_MWH, description="the device's lifetime counter")]
MilliCelsius = Annotated[int, Meta(ge=-60_000, le=200_000)]
DecibelMilliwatts = Annotated[int, Meta(ge=-130, le=0)]


class WireReading(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One reading as the socket sends it. `boot` + `seq` identify it forever; exactly one of `at` and `up`."""

    boot: Boot
    seq: Seq
    power_mw: Milliwatts
    at: AtMs | None = None
    up: UpMs | None = None
    voltage_mv: Millivolts | None = None
    current_ma: Milliamperes | None = None
    energy_mwh: MilliwattHours | None = None
    relay: bool | None = None
    temperature_mc: MilliCelsius | None = None
    rssi_dbm: DecibelMilliwatts | None = None


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


class PresenceReport(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Retained on `…/status`: the socket is there, or (its last will) gone."""

    online: bool
    boot: Boot | None = None
    firmware: Annotated[str, Meta(max_length=64)] | None = None
    config: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class CommandReport(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """On `…/status`: how a command ended."""

    command: Annotated[str, Meta(max_length=64)]
    result: Literal["done", "rejected"]
    relay: bool | None = None
    reason: Annotated[str, Meta(max_length=200)] | None = None
    at: AtMs | None = None


class DeviceEventReport(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """On `…/status`: something happened at the socket, such as a trip; further members are kept as `details`."""

    event: Annotated[str, Meta(min_length=1, max_length=64)]
    at: AtMs | None = None
    details: dict[str, Any] = {}


StatusReport = PresenceReport | CommandReport | DeviceEventReport


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Server → device: these `seq`s of `boot` are settled (in the log, as a reading or as a dead letter)."""

    boot: Boot
    ranges: list[tuple[int, int]]


# --- topics ---------------------------------------------------------------------------------------------

DATA_FILTER = "devices/+/data"
STATUS_FILTER = "devices/+/status"


def data_topic(device_id: str) -> str:
    return f"devices/{device_id}/data"


def status_topic(device_id: str) -> str:
    return f"devices/{device_id}/status"


def commands_topic(device_id: str) -> str:
    return f"devices/{device_id}/commands"


def receipts_topic(device_id: str) -> str:
    return f"devices/{device_id}/receipts"


def parse_device_topic(topic: str) -> tuple[str, str]:
    """`devices/{id}/{channel}` as (device id, channel).

    Raises:
        PayloadRejected: another shape of topic, or not a device id.
    """
    levels = topic.split("/")
    if len(levels) != 3 or levels[0] != "devices":
        raise PayloadRejected("topic", f"{topic[:120]!r} is not devices/{{id}}/{{channel}}")
    try:
        return parse_device_id(levels[1]), levels[2]
    except InvalidDeviceId as error:
        raise PayloadRejected(error.reason, error.detail) from error


# --- data: device → server ------------------------------------------------------------------------------

_decode_data = msgspec.json.Decoder(WireReading | list[WireReading]).decode
_decode_reading = msgspec.json.Decoder(WireReading).decode
_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def encode_data(readings: Sequence[WireReading]) -> bytes:
    """One reading as an object, several as a list (the backlog), at most `MAX_READINGS_PER_PAYLOAD`."""
    return _encode(readings[0] if len(readings) == 1 else readings)


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
    oldest_ms, newest_ms = received_at_ms - max_age_ms, received_at_ms + CLOCK_AHEAD_LIMIT_MS
    try:
        decoded = _decode_data(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_one_by_one(payload, oldest_ms, newest_ms)
    readings = decoded if type(decoded) is list else [decoded]
    if len(readings) > MAX_READINGS_PER_PAYLOAD:
        raise PayloadRejected("too_many", f"{len(readings)} readings are more than {MAX_READINGS_PER_PAYLOAD}")
    # Each member has one colon, so an equal count proves that none is doubled or unknown.
    if payload.count(b":") != sum(map(_count_members, readings)):
        return _decode_one_by_one(payload, oldest_ms, newest_ms)
    for reading in readings:
        at = reading.at
        if at is None or reading.up is not None or not oldest_ms <= at <= newest_ms:
            return _decode_one_by_one(payload, oldest_ms, newest_ms)
    return DecodedData(readings, [])


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


def _decode_one_by_one(payload: bytes, oldest_ms: int, newest_ms: int) -> DecodedData:
    readings: list[WireReading] = []
    rejected: list[RejectedReading] = []
    for raw in _split(payload):
        try:
            readings.append(_decode_strictly(raw, oldest_ms, newest_ms))
        except ReadingRejected as error:
            rejected.append(RejectedReading(raw, error, *_salvage_identity(raw)))
    return DecodedData(readings, rejected)


def _split(payload: bytes) -> list[bytes]:
    if not payload.lstrip().startswith(b"["):
        return [payload]
    try:
        items = _split_list(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadRejected("not_json", str(error)) from error
    if len(items) > MAX_READINGS_PER_PAYLOAD:
        raise PayloadRejected("too_many", f"{len(items)} readings are more than {MAX_READINGS_PER_PAYLOAD}")
    return [bytes(item) for item in items]


def _decode_strictly(raw: bytes, oldest_ms: int, newest_ms: int) -> WireReading:
    try:
        reading = _decode_reading(raw)
        _load_strict_json(raw)
    except msgspec.ValidationError as error:
        raise ReadingRejected("schema", str(error)) from error
    except PayloadRejected as error:
        raise ReadingRejected(error.reason, error.detail) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReadingRejected("not_json", str(error) or type(error).__name__) from error
    if (reading.at is None) == (reading.up is None):
        raise ReadingRejected("clock_missing", "exactly one of `at` and `up` is needed")
    if reading.at is not None and reading.at > newest_ms:
        raise ReadingRejected("clock_ahead", f"`at` is {reading.at - newest_ms} ms beyond the 2 min allowed")
    if reading.at is not None and reading.at < oldest_ms:
        raise ReadingRejected("too_old", f"`at` is {oldest_ms - reading.at} ms older than the retention")
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


# --- status: device → server ----------------------------------------------------------------------------


def decode_status(payload: bytes) -> StatusReport:
    """What a device says on its status topic.

    Raises:
        PayloadRejected: too large, not a JSON object, or none of presence, command report and device event.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadRejected("too_large", f"{len(payload)} bytes are more than {MAX_PAYLOAD_BYTES}")
    members = _load_strict_json(payload)
    if not isinstance(members, dict):
        raise PayloadRejected("schema", "a status is a JSON object")
    try:
        if "online" in members:
            return msgspec.convert(members, PresenceReport)
        if "command" in members:
            return msgspec.convert(members, CommandReport)
        if "event" in members:
            known = {key: members[key] for key in ("event", "at") if key in members}
            details = {key: value for key, value in members.items() if key not in known}
            return msgspec.convert({**known, "details": details}, DeviceEventReport)
    except msgspec.ValidationError as error:
        raise PayloadRejected("schema", str(error)) from error
    raise PayloadRejected("schema", "a status needs one of `online`, `command` and `event`")


def _load_strict_json(raw: bytes) -> Any:
    try:
        return json.loads(raw, object_pairs_hook=_unique_members, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise PayloadRejected("not_json", str(error) or type(error).__name__) from error


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise PayloadRejected("doubled_key", "a member stands twice")
    return members


def _refuse_constant(name: str) -> None:
    raise PayloadRejected("not_json", f"{name} is not JSON")


def encode_status(report: StatusReport) -> bytes:
    """A status payload, as a device sends it."""
    if isinstance(report, DeviceEventReport):
        return _encode({**report.details, "event": report.event} | ({"at": report.at} if report.at else {}))
    return _encode(report)


# --- receipts: server → device --------------------------------------------------------------------------

_decode_receipt = msgspec.json.Decoder(Receipt).decode


def encode_receipt(boot: str, ranges: Iterable[tuple[int, int]]) -> bytes:
    return _encode(Receipt(boot, list(ranges)))


def decode_receipt(payload: bytes) -> Receipt:
    """A receipt as a device reads it.

    Raises:
        PayloadRejected: not a receipt.
    """
    try:
        return _decode_receipt(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PayloadRejected("schema", str(error)) from error
