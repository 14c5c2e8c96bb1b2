"""The documents: OpenAPI says what the routes answer, AsyncAPI and the JSON Schemas what the events look like."""

from __future__ import annotations

import random
from typing import Any

import jsonschema
import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from api.asyncapi import Brokers, asyncapi_document
from api.json_schemas import asyncapi_schemas, event_schemas
from domain import events, wire
from domain.clock import to_instant
from domain.command_wire import WireCommand
from domain.lifecycle.commands import Reference
from domain.lifecycle.devices import DeviceConfiguration
from domain.lifecycle.mapping import LIFECYCLE_EVENTS
from tests.contract.api.stranded import stranded_app
from tests.lifecycle_histories import Town

AT = to_instant(1_764_000_000_123)
EVENTS: list[Any] = [
    events.ReadingRecorded("kettle", "9f3a61c2", 17, AT, AT, 98.2, 230.1, 0.431, 123456.789, True, 41.2, -61),
    events.ReadingRecorded("kettle", "9f3a61c2", 0, AT, AT, 0.0, up_ms=5),
    events.PresenceChanged("kettle", True, AT, "9f3a61c2", "1.4.0", 7),
    events.CommandReported("kettle", "an-id", "rejected", AT, None, "too hot", AT),
    events.DeviceEventReported("kettle", "trip", AT, None, {"cause": "over_current"}),
    events.DeadLettered("not_json", "…", "mqtt:devices/kettle/data", "e30=", AT, "kettle", "9f3a61c2", 3),
]
PAYLOADS: list[Any] = [
    wire.WireReading("9f3a61c2", 17, 98_200, at=1_764_000_000_123, voltage_mv=230_100),
    wire.PresenceReport(online=False),
    wire.CommandReport("an-id", "done", True, None, 1_764_000_000_123),
    wire.Receipt("9f3a61c2", [(17, 20), (22, 22)]),
    WireCommand(id="an-id", type="configure", config=DeviceConfiguration(power_on="last"), version=1, expires_at=1),
    WireCommand(id="an-id", type="calibrate", reference=Reference(voltage_mv=230_000), expires_at=1),
]


@pytest.fixture(scope="module")
def asyncapi() -> dict[str, Any]:
    document = asyncapi_document(Brokers("broker:9092", "broker:1883", "test."), version="1.2.3")
    return msgspec.json.decode(msgspec.json.encode(document))


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app, _ = stranded_app(tmp_path_factory.mktemp("openapi"))
    return app.openapi()


def every(document: Any, key: str) -> list[Any]:
    """All values of `key`, however deep."""
    if isinstance(document, dict):
        return [value for name, value in document.items() if name == key] + [
            found for value in document.values() for found in every(value, key)
        ]
    return [found for part in document for found in every(part, key)] if isinstance(document, list) else []


def follow(document: Any, reference: str) -> Any:
    assert reference.startswith("#/"), reference
    for step in reference[2:].split("/"):
        document = document[step]
    return document


# --- JSON Schemas ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_fits_its_published_schema(event: Any) -> None:
    schema = event_schemas()[events.EVENT_TYPES[type(event)]]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(msgspec.json.decode(msgspec.json.encode(event)))


def test_every_lifecycle_event_fits_its_published_schema() -> None:
    towns, chance = [Town() for _ in range(8)], random.Random(7)
    for town in towns * 200:
        town.happen(chance.randrange(31), chance.randrange(31), chance.randrange(31))
    seen = set()
    for record in (record for town in towns for record in town.log):
        name = dict(record.headers)["ce_type"].decode()
        seen.add(name)
        schema = event_schemas()[name]
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
            msgspec.json.decode(record.value)
        )
    assert len(seen) >= len(LIFECYCLE_EVENTS) - 3
    for name in LIFECYCLE_EVENTS:
        Draft202012Validator.check_schema(event_schemas()[name])


def test_what_the_decoder_refuses_the_schema_refuses_too() -> None:
    schema = Draft202012Validator(event_schemas()["wattaway.reading-recorded.v1"])
    good = msgspec.json.decode(msgspec.json.encode(EVENTS[0]))
    for wrong in (
        {"power_w": -1},
        {"device_id": "a.b"},
        {"boot": "XYZ"},
        {"seq": -1},
        {"voltage_v": 500},
        {"relay": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            schema.validate({**good, **wrong})
        with pytest.raises(events.EventRejected):
            events.decode_reading(msgspec.json.encode({**good, **wrong}))


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: type(payload).__name__)
def test_every_mqtt_payload_fits_its_schema(payload: Any, asyncapi: dict[str, Any]) -> None:
    schema = {**asyncapi, "$ref": f"#/components/schemas/{type(payload).__name__}"}
    Draft7Validator(schema).validate(msgspec.json.decode(msgspec.json.encode(payload)))


def test_a_device_event_keeps_its_details_beside_its_name(asyncapi: dict[str, Any]) -> None:
    report = wire.DeviceEventReport("trip", 5, {"cause": "over_current", "current_ma": 17_200})
    schema = {**asyncapi, "$ref": "#/components/schemas/DeviceEventReport"}
    Draft7Validator(schema).validate(msgspec.json.decode(wire.encode_status(report)))
    assert "details" not in asyncapi["components"]["schemas"]["DeviceEventReport"]["properties"]
    assert "details" in asyncapi["components"]["schemas"]["DeviceEventReported"]["properties"]


def test_component_schemas_are_draft_07() -> None:
    for schema in asyncapi_schemas().values():
        Draft7Validator.check_schema(schema)
        assert not every(schema, "prefixItems")


# --- AsyncAPI -------------------------------------------------------------------------------------------


def test_every_reference_of_the_asyncapi_document_resolves(asyncapi: dict[str, Any]) -> None:
    references = every(asyncapi, "$ref")
    assert len(references) > 30
    for reference in references:
        follow(asyncapi, reference)


def test_operations_take_their_messages_from_their_own_channel(asyncapi: dict[str, Any]) -> None:
    """AsyncAPI 3.0.0, "Operation Object": messages must be a subset of the channel's, by reference to it."""
    assert asyncapi["asyncapi"] == "3.0.0"
    assert asyncapi["info"]["version"] == "1.2.3"
    for operation in asyncapi["operations"].values():
        assert operation["action"] in ("send", "receive")
        prefix = f"{operation['channel']['$ref']}/messages/"
        assert operation["messages"]
        assert all(message["$ref"].startswith(prefix) for message in operation["messages"])
    named = {operation["channel"]["$ref"] for operation in asyncapi["operations"].values()}
    assert named == {f"#/channels/{name}" for name in asyncapi["channels"]}


def test_every_topic_and_event_type_stands_in_it(asyncapi: dict[str, Any]) -> None:
    addresses = {channel["address"]: channel for channel in asyncapi["channels"].values()}
    for topic, kinds in events.TOPIC_EVENTS.items():
        assert set(addresses[f"test.{topic}"]["messages"]) == {kind.__name__ for kind in kinds}
    assert len(addresses[f"test.{events.LIFECYCLE_TOPIC}"]["messages"]) == len(LIFECYCLE_EVENTS)
    for kind, name in events.EVENT_TYPES.items():
        message = asyncapi["components"]["messages"][kind.__name__]
        assert message["name"] == name
        assert message["headers"]["properties"]["ce_type"]["const"] == name
    for address in ("devices/{deviceId}/data", "devices/{deviceId}/status", "devices/{deviceId}/receipts"):
        assert "deviceId" in addresses[address]["parameters"]


def test_the_headers_of_a_record_are_those_described(asyncapi: dict[str, Any]) -> None:
    record = events.reading_record(EVENTS[0])
    headers = {name: value.decode() for name, value in record.headers}
    Draft7Validator(asyncapi["components"]["messages"]["ReadingRecorded"]["headers"]).validate(headers)


# --- OpenAPI --------------------------------------------------------------------------------------------


def test_every_reference_of_the_openapi_document_resolves(openapi: dict[str, Any]) -> None:
    for reference in every(openapi, "$ref"):
        follow(openapi, reference)


def test_every_json_route_has_an_example_that_fits_its_schema(openapi: dict[str, Any]) -> None:
    checked = 0
    for path, methods in openapi["paths"].items():
        if not path.startswith("/api/v1") and path not in ("/healthz", "/readyz"):
            continue
        answers = [answer for method in methods.values() for answer in method["responses"].items()]
        for content in [answer.get("content", {}) for status, answer in answers if status.startswith("2")]:
            assert all("example" in media for media in content.values()), path
            if "application/json" in content:
                media = content["application/json"]
                Draft202012Validator({**openapi, **media["schema"]}).validate(media["example"])
                checked += 1
    assert checked >= 14


PUBLIC = {
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/asyncapi.json"),
    ("get", "/schemas"),
    ("get", "/schemas/{event_type}.json"),
    ("post", "/api/v1/session"),
    ("get", "/api/v1/set-up"),
    ("post", "/api/v1/set-up"),
    ("post", "/api/v1/users"),
}


def test_every_route_documents_its_problems_and_who_may_ask(openapi: dict[str, Any]) -> None:
    operations = [(method, path, one) for path, methods in openapi["paths"].items() for method, one in methods.items()]
    for method, path, operation in operations:
        assert "429" in operation["responses"], path
        assert bool(operation.get("security")) is ((method, path) not in PUBLIC), path
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and path != "/readyz":
                assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_every_change_may_meet_another_and_the_accounts_may_find_it_forgotten(openapi: dict[str, Any]) -> None:
    decides_nothing = {("post", "/api/v1/session/reauthentication")}
    changes = [
        (method, path, operation["responses"])
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
        if method not in ("get", "head") and (method, path) not in decides_nothing
    ]
    assert len(changes) >= 30
    assert not [(method, path) for method, path, responses in changes if "409" not in responses]
    of_somebody = [one for one in changes if one[1].startswith("/api/v1/account")]
    assert not [(method, path) for method, path, responses in of_somebody if "404" not in responses]
