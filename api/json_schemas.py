"""JSON Schemas of the Kafka events and the MQTT payloads, generated from the types that decode them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from domain.command_wire import WireCommand
from domain.events import EVENT_TYPES
from domain.lifecycle.mapping import LIFECYCLE_EVENTS
from domain.wire import CommandReport, DeviceEventReport, PresenceReport, Receipt, WireReading

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WIRE_TYPES: tuple[type[Any], ...] = (
    WireReading,
    PresenceReport,
    CommandReport,
    DeviceEventReport,
    Receipt,
    WireCommand,
)


@cache
def event_schemas() -> Mapping[str, dict[str, Any]]:
    """Event type (`wattaway.reading-recorded.v1`) → the 2020-12 schema of its Kafka value."""
    names = {name: event.__name__ for event, name in EVENT_TYPES.items()}
    schemas = _schemas_of(tuple(EVENT_TYPES), "#/$defs/{name}")
    made = {name: schemas[struct] for name, struct in names.items()} | _lifecycle_schemas(embedded=True)
    return {name: {"$schema": DIALECT, **schema, "title": name} for name, schema in made.items()}


@cache
def asyncapi_schemas() -> Mapping[str, dict[str, Any]]:
    """The name of each event and payload → its schema as AsyncAPI understands it by default (draft 07)."""
    schemas = _schemas_of((*EVENT_TYPES, *WIRE_TYPES), "#/components/schemas/{name}")
    schemas |= _lifecycle_schemas(embedded=False)
    return {name: _as_draft_07(schema) for name, schema in schemas.items()}


def lifecycle_name(event_type: str) -> str:
    """`wattaway.device-registered.v1` → `DeviceRegistered`: the classes are called `Registered`, each in its own."""
    words = event_type.removeprefix("wattaway.").rpartition(".v")[0].split("-")
    return "".join(word.capitalize() for word in words)


def _lifecycle_schemas(*, embedded: bool) -> dict[str, dict[str, Any]]:
    """By event type with what they refer to inside, or by `lifecycle_name` with that beside them."""
    found: dict[str, dict[str, Any]] = {}
    for event_type, event in LIFECYCLE_EVENTS.items():
        template = "#/$defs/{name}" if embedded else "#/components/schemas/{name}"
        _, schemas = msgspec.json.schema_components((event,), ref_template=template)
        schema = schemas.pop(event.__name__)
        for instant in {"timestamp", "expires_at", "reported_at"} & schema["properties"].keys():
            schema["properties"][instant] = _dated(schema["properties"][instant])
        if embedded:
            found[event_type] = {**schema, **({"$defs": schemas} if schemas else {})}
        else:
            name = lifecycle_name(event_type)
            found |= {name: {**schema, "title": name}, **schemas}
    return found


def _dated(schema: dict[str, Any]) -> dict[str, Any]:
    """An instant without a constraint of its own is said to be any string; those in the log are RFC 3339."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_dated(part) for part in schema["anyOf"]]}
    return {**schema, "format": "date-time"} if schema.get("type") == "string" else schema


def _schemas_of(types: Sequence[type[Any]], ref_template: str) -> dict[str, dict[str, Any]]:
    _, schemas = msgspec.json.schema_components(types, ref_template=ref_template)
    event = schemas.get(DeviceEventReport.__name__)
    if event is not None:
        # On the wire the details stand beside `event`, not below a member of their own.
        del event["properties"]["details"]
        event["additionalProperties"] = True
    return schemas


def _as_draft_07(schema: Any) -> Any:
    """Tuples, the one thing msgspec writes that draft 07 says otherwise."""
    if isinstance(schema, list):
        return [_as_draft_07(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: _as_draft_07(part) for key, part in schema.items()}
    if "prefixItems" in converted:
        converted["additionalItems"] = converted.pop("items", True)
        converted["items"] = converted.pop("prefixItems")
    return converted
