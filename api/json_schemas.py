"""JSON Schemas of the Kafka events and the MQTT payloads, generated from the types that decode them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from domain.events import EVENT_TYPES
from domain.wire import CommandReport, DeviceEventReport, PresenceReport, Receipt, WireReading

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WIRE_TYPES: tuple[type[Any], ...] = (WireReading, PresenceReport, CommandReport, DeviceEventReport, Receipt)


@cache
def event_schemas() -> Mapping[str, dict[str, Any]]:
    """Event type (`wattaway.reading-recorded.v1`) → the 2020-12 schema of its Kafka value."""
    names = {name: event.__name__ for event, name in EVENT_TYPES.items()}
    schemas = _schemas_of(tuple(EVENT_TYPES), "#/$defs/{name}")
    return {name: {"$schema": DIALECT, **schemas[struct], "title": name} for name, struct in names.items()}


@cache
def asyncapi_schemas() -> Mapping[str, dict[str, Any]]:
    """The name of each event and payload → its schema as AsyncAPI understands it by default (draft 07)."""
    schemas = _schemas_of((*EVENT_TYPES, *WIRE_TYPES), "#/components/schemas/{name}")
    return {name: _as_draft_07(schema) for name, schema in schemas.items()}


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
