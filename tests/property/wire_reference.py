"""What a data payload means, written down once more: slow, plain, and without msgspec."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

RANGES = {
    "seq": (0, 2**48),
    "power_mw": (0, 8_000_000),
    "at": (0, 4_102_444_800_000),
    "up": (0, 2**48),
    "voltage_mv": (0, 400_000),
    "current_ma": (0, 20_000),
    "energy_mwh": (0, 10**13),
    "temperature_mc": (-60_000, 200_000),
    "rssi_dbm": (-130, 0),
}
NEEDED = ("boot", "seq", "power_mw")
AHEAD_MS = 120_000


class Meaning(NamedTuple):
    """The readings that are taken, and why each other one is not; or why the whole payload is not."""

    readings: list[dict[str, Any]]
    reasons: list[str]
    refused: str | None = None


class _Refused(Exception):
    pass


class _Members(dict[str, Any]):
    doubled = False


def meaning_of(payload: bytes, *, received_at_ms: int, max_age_ms: int) -> Meaning:
    """What the protocol says of this payload."""
    if len(payload) > 65_536:
        return Meaning([], [], "too_large")
    is_list = payload.lstrip(b" \t\r\n").startswith(b"[")
    try:
        loaded = json.loads(
            payload.decode("utf-8", "surrogateescape"), object_pairs_hook=_members, parse_constant=_no_constant
        )
    except (ValueError, RecursionError, _Refused):
        return Meaning([], [], "not_json") if is_list else Meaning([], ["not_json"])
    items = loaded if is_list else [loaded]
    if len(items) > 500:
        return Meaning([], [], "too_many")
    readings, reasons = [], []
    for item in items:
        try:
            readings.append(_reading(item, received_at_ms, max_age_ms))
        except _Refused as why:
            reasons.append(str(why))
    return _without_forgotten(readings, reasons, max_age_ms)


def _members(pairs: list[tuple[str, Any]]) -> _Members:
    members = _Members(pairs)
    members.doubled = len(members) != len(pairs)
    return members


def _no_constant(name: str) -> None:
    raise _Refused(name)


def _reading(item: Any, received_at_ms: int, max_age_ms: int) -> dict[str, Any]:
    if _has_broken_text(item):
        raise _Refused("not_json")
    if _has_doubled(item):
        raise _Refused("doubled_key")
    if not isinstance(item, dict) or any(item.get(name) is None for name in NEEDED):
        raise _Refused("schema")
    reading = {name: item[name] for name in ("boot", "relay", *RANGES) if item.get(name) is not None}
    _check_members(reading)
    if ("at" in reading) == ("up" in reading):
        raise _Refused("clock_missing")
    if "at" in reading and reading["at"] > received_at_ms + AHEAD_MS:
        raise _Refused("clock_ahead")
    if "at" in reading and reading["at"] < received_at_ms - max_age_ms:
        raise _Refused("too_old")
    return reading


def _check_members(reading: dict[str, Any]) -> None:
    if not isinstance(reading["boot"], str) or not re.fullmatch("[0-9a-f]{8}", reading["boot"]):
        raise _Refused("schema")
    if "relay" in reading and not isinstance(reading["relay"], bool):
        raise _Refused("schema")
    for name, (least, most) in RANGES.items():
        value = reading.get(name)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise _Refused("schema")


def _has_doubled(item: Any) -> bool:
    if isinstance(item, _Members):
        return item.doubled or any(map(_has_doubled, item.values()))
    return isinstance(item, list) and any(map(_has_doubled, item))


def _has_broken_text(item: Any) -> bool:
    """Whether bytes that are no UTF-8 stand in it: `surrogateescape` has marked them."""
    if isinstance(item, str):
        return any("\udc80" <= character <= "\udcff" for character in item)
    if isinstance(item, dict):
        return any(_has_broken_text(one) for pair in item.items() for one in pair)
    return isinstance(item, list) and any(map(_has_broken_text, item))


def _without_forgotten(readings: list[dict[str, Any]], reasons: list[str], max_age_ms: int) -> Meaning:
    newest: dict[str, int] = {}
    for reading in readings:
        if "up" in reading:
            newest[reading["boot"]] = max(newest.get(reading["boot"], 0), reading["up"])
    kept = [one for one in readings if "up" not in one or newest[one["boot"]] - one["up"] <= max_age_ms]
    return Meaning(kept, reasons + ["too_old"] * (len(readings) - len(kept)))
