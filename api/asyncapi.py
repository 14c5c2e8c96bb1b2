"""The AsyncAPI 3 document of the Kafka topics and the MQTT channels, from the types of the domain.

Seen from WattAway: it receives what devices send, and sends events to Kafka and receipts and commands to devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from api.json_schemas import asyncapi_schemas, lifecycle_name
from domain.command_wire import WireCommand
from domain.device_ids import DEVICE_ID_PATTERN
from domain.events import (
    DEAD_LETTERS_TOPIC,
    EVENT_TYPES,
    LIFECYCLE_TOPIC,
    READINGS_TOPIC,
    REPORTS_TOPIC,
    TOPIC_EVENTS,
)
from domain.lifecycle.mapping import LIFECYCLE_EVENTS
from domain.wire import (
    MAX_READINGS_PER_PAYLOAD,
    CommandReport,
    DeviceEventReport,
    PresenceReport,
    Receipt,
    WireReading,
    commands_topic,
    data_topic,
    receipts_topic,
    status_topic,
)

VERSION = "3.0.0"
_DEVICE = "{deviceId}"
_TOPIC_TITLES = {
    READINGS_TOPIC: ("readings", "Every reading that was accepted, once per `ce_source` and `ce_id`."),
    REPORTS_TOPIC: ("reports", "What devices say about themselves: presence, ends of commands, events such as trips."),
    DEAD_LETTERS_TOPIC: ("deadLetters", "Input that could not be taken: why, from where, and its bytes."),
    LIFECYCLE_TOPIC: (
        "lifecycle",
        "What people and the engine decided: accounts, tenants, devices, commands, firmware, denials.",
    ),
}
_TOPIC_MESSAGES: Mapping[str, Sequence[str]] = {
    **{topic: [kind.__name__ for kind in kinds] for topic, kinds in TOPIC_EVENTS.items()},
    LIFECYCLE_TOPIC: [lifecycle_name(name) for name in LIFECYCLE_EVENTS],
}


class Brokers(NamedTuple):
    """Where the document says that the brokers are."""

    kafka_host: str
    mqtt_host: str
    topic_prefix: str = ""


class _MqttChannel(NamedTuple):
    name: str
    address: str
    description: str
    payloads: tuple[type[Any], ...]
    action: str


_MQTT_CHANNELS = (
    _MqttChannel(
        "deviceData",
        data_topic(_DEVICE),
        f"QoS 1. One reading, or a list of up to {MAX_READINGS_PER_PAYLOAD} (the backlog); settled by a receipt.",
        (WireReading,),
        "receive",
    ),
    _MqttChannel(
        "deviceStatus",
        status_topic(_DEVICE),
        "QoS 1. Presence is retained and also the last will; reports and events are not retained.",
        (PresenceReport, CommandReport, DeviceEventReport),
        "receive",
    ),
    _MqttChannel(
        "deviceReceipts",
        receipts_topic(_DEVICE),
        "QoS 0. Which readings are in the log, so that the device may forget them.",
        (Receipt,),
        "send",
    ),
    _MqttChannel(
        "deviceCommands",
        commands_topic(_DEVICE),
        "QoS 1, never retained. Done once per id, unless it has expired, and answered on the status topic.",
        (WireCommand,),
        "send",
    ),
)


def asyncapi_document(brokers: Brokers, *, version: str) -> dict[str, Any]:
    """The whole document.

    Args:
        version: WattAway's own.
    """
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "WattAway",
            "version": version,
            "description": "Telemetry of smart sockets: MQTT between the sockets and the engine, events in Kafka.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(brokers),
        "channels": _channels(brokers.topic_prefix),
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": dict(asyncapi_schemas())},
    }


def _servers(brokers: Brokers) -> dict[str, Any]:
    mqtt = {"host": brokers.mqtt_host, "protocol": "mqtt", "protocolVersion": "3.1.1"}
    return {
        "kafka": {"host": brokers.kafka_host, "protocol": "kafka", "description": "The event log."},
        "mqtt": {**mqtt, "description": "User = device id, password = its token."},
    }


def _channels(prefix: str) -> dict[str, Any]:
    topics = {name: _kafka_channel(prefix, topic, text) for topic, (name, text) in _TOPIC_TITLES.items()}
    return topics | {channel.name: _mqtt_channel(channel) for channel in _MQTT_CHANNELS}


def _operations() -> dict[str, Any]:
    appended = [("append", "send", name, _TOPIC_MESSAGES[topic]) for topic, (name, _) in _TOPIC_TITLES.items()]
    carried = [(channel.action, channel.action, channel.name, _names(channel.payloads)) for channel in _MQTT_CHANNELS]
    return {
        f"{verb}{name[0].upper()}{name[1:]}": _operation(action, name, messages)
        for verb, action, name, messages in appended + carried
    }


def _kafka_channel(prefix: str, topic: str, description: str) -> dict[str, Any]:
    return {
        "address": prefix + topic,
        "description": description,
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": _message_refs(_TOPIC_MESSAGES[topic]),
        "bindings": {"kafka": {"topic": prefix + topic}},
    }


def _mqtt_channel(channel: _MqttChannel) -> dict[str, Any]:
    return {
        "address": channel.address,
        "description": channel.description,
        "servers": [{"$ref": "#/servers/mqtt"}],
        "parameters": {"deviceId": {"description": f"The device's id: {DEVICE_ID_PATTERN}"}},
        "messages": _message_refs(_names(channel.payloads)),
    }


def _names(types: Iterable[type[Any]]) -> list[str]:
    return [kind.__name__ for kind in types]


def _message_refs(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _operation(action: str, channel: str, messages: Iterable[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _messages() -> dict[str, Any]:
    wire = {kind for channel in _MQTT_CHANNELS for kind in channel.payloads}
    messages: dict[str, Any] = {
        event.__name__: {
            "name": name,
            "title": _first_sentence(event),
            "contentType": "application/json",
            "headers": _cloud_event_headers(name),
            "payload": _schema_ref(event),
            "bindings": {"kafka": {"key": {"type": "string", "description": "The device's id; empty if unknown."}}},
        }
        for event, name in EVENT_TYPES.items()
    }
    messages |= {lifecycle_name(name): _lifecycle_message(name) for name in LIFECYCLE_EVENTS}
    for kind in sorted(wire, key=lambda kind: kind.__name__):
        messages[kind.__name__] = {
            "name": kind.__name__,
            "title": _first_sentence(kind),
            "contentType": "application/json",
            "payload": _payload(kind),
        }
    return messages


def _lifecycle_message(event_type: str) -> dict[str, Any]:
    name = lifecycle_name(event_type)
    key = "The device's id where the event has one, else the aggregate's id."
    return {
        "name": event_type,
        "title": name,
        "contentType": "application/json",
        "headers": _cloud_event_headers(event_type),
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}}},
    }


def _payload(kind: type[Any]) -> dict[str, Any]:
    if kind is not WireReading:
        return _schema_ref(kind)
    backlog = {"type": "array", "items": _schema_ref(kind), "maxItems": MAX_READINGS_PER_PAYLOAD}
    return {"oneOf": [_schema_ref(kind), backlog]}


def _schema_ref(kind: type[Any]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _cloud_event_headers(event_type: str) -> dict[str, Any]:
    """CloudEvents 1.0, Kafka binding, binary mode."""
    return {
        "type": "object",
        "required": ["ce_specversion", "ce_type", "ce_id", "ce_source", "ce_time", "content-type"],
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_type": {"type": "string", "const": event_type},
            "ce_id": {"type": "string", "description": "Unique within `ce_source`: doubles are the same event."},
            "ce_source": {"type": "string", "examples": ["/devices/kitchen-kettle"]},
            "ce_time": {"type": "string", "format": "date-time"},
            "content-type": {"type": "string", "const": "application/json"},
        },
    }


def _first_sentence(kind: type[Any]) -> str:
    return (kind.__doc__ or kind.__name__).partition("\n")[0]
