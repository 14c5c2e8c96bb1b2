"""The MQTT wire between a socket and the engine: topics and JSON payloads, exactly as docs/protocol.md says.

Integers only, so that a board with 32-bit floats stays exact: mV, mA, mW, mWh, m°C, ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from domain.device_ids import parse_device_id
from domain.errors import InvalidDeviceId, PayloadRejected
from domain.strict_json import decode_strict_json

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_DETAIL_LEVELS = 16
"""How deep a device event's members may nest: MariaDB's JSON functions end at 32, MySQL's at 100."""
MAX_READINGS_PER_PAYLOAD = 500
CLOCK_AHEAD_LIMIT_MS = 120_000

# A 16 A, 400 V socket, with a quarter of headroom on the current for the overload that trips it.
MAX_VOLTAGE_MV = 400_000
MAX_CURRENT_MA = 20_000
MAX_POWER_MW = MAX_VOLTAGE_MV * MAX_CURRENT_MA // 1000
MAX_ENERGY_MWH = 10**13
MAX_SEQ = 2**48
MAX_AT_MS = 4_102_444_800_000  # 2100-01-01

Boot = Annotated[str, Meta(pattern="^[0-9a-f]{8}$", max_length=8, description="random at each start of the device")]
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

_encode = msgspec.json.Encoder().encode


def encode_data(readings: Sequence[WireReading]) -> bytes:
    """One reading as an object, several as a list (the backlog), at most `MAX_READINGS_PER_PAYLOAD`."""
    return _encode(readings[0] if len(readings) == 1 else readings)


# --- status: device → server ----------------------------------------------------------------------------


def decode_status(payload: bytes) -> StatusReport:
    """What a device says on its status topic.

    Raises:
        PayloadRejected: too large, not a JSON object, or none of presence, command report and device event.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadRejected("too_large", f"{len(payload)} bytes are more than {MAX_PAYLOAD_BYTES}")
    members = decode_strict_json(payload)
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
            _check_kept(details, MAX_DETAIL_LEVELS)
            return msgspec.convert({**known, "details": details}, DeviceEventReport)
    except msgspec.ValidationError as error:
        raise PayloadRejected("schema", str(error)) from error
    raise PayloadRejected("schema", "a status needs one of `online`, `command` and `event`")


def _check_kept(value: Any, levels: int) -> None:
    """Return if every database can hold it.

    Raises:
        PayloadRejected: nested more than `levels` deep, or with an integer beyond 64 bits.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise PayloadRejected("schema", "an integer is beyond 64 bits")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if inner and not levels:
        raise PayloadRejected("schema", f"nested more than {MAX_DETAIL_LEVELS} deep")
    for one in inner:
        _check_kept(one, levels - 1)


def encode_status(report: StatusReport) -> bytes:
    """A status payload, as a device sends it."""
    if isinstance(report, DeviceEventReport):
        return _encode({**report.details, "event": report.event} | ({} if report.at is None else {"at": report.at}))
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
