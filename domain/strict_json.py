"""JSON without the leniency: no doubled keys, no NaN, nothing but UTF-8. Source: RFC 8259, RFC 7493 (I-JSON)."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from domain.errors import PayloadRejected

_decode_json = msgspec.json.Decoder().decode


def decode_strict_json(payload: bytes) -> Any:
    """The JSON of `payload`, of any shape.

    msgspec decodes, which unlike `json` takes nothing that it could not write again (half a surrogate pair, 1e999).

    Raises:
        PayloadRejected: not UTF-8 JSON, or with a member that stands twice.
    """
    try:
        members = _decode_json(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadRejected("not_json", str(error) or type(error).__name__) from error
    refuse_doubled_keys(payload)
    return members


def refuse_doubled_keys(raw: bytes) -> None:
    """Return if no object in this JSON has a member twice.

    Raises:
        PayloadRejected: one has, or `json` finds that it is no JSON.
    """
    doubled = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal doubled
        members = dict(pairs)
        doubled |= len(members) != len(pairs)
        return members

    try:
        json.loads(raw, object_pairs_hook=note, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise PayloadRejected("not_json", str(error) or type(error).__name__) from error
    if doubled:
        raise PayloadRejected("doubled_key", "a member stands twice")


def _refuse_constant(name: str) -> None:
    raise PayloadRejected("not_json", f"{name} is not JSON")
