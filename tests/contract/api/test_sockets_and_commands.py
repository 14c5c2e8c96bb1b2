"""Sockets are registered, configured, shared and told what to do."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest

from api.routes import registration
from api.schemas import Problem
from api.schemas_sockets import AcceptedCommand, Command, ConfigurationState, RegisteredDevice
from domain.lifecycle.access import Access
from domain.lifecycle.cause import system_cause
from domain.lifecycle.commands import Command as Decided
from domain.lifecycle.sockets import NewDevice
from tests.contract.api.corner import ApiCorner
from tests.contract.api.members import bearer
from tests.servers import World

ON = {"type": "switch", "relay": True}
CALIBRATE = {"type": "calibrate"}


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


async def ask(api: ApiCorner, method: str, path: str, status: int, **more: Any) -> Any:
    answer = await api.client.request(method, f"/api/v1/{path}", **more)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


# --- registration -----------------------------------------------------------------------------------------


async def test_a_registered_sockets_token_is_shown_once_and_lets_it_in(api: ApiCorner) -> None:
    path = f"tenants/{api.owner.tenant_id}/devices"
    new = await ask(api, "POST", path, 201, json={"device_id": "kettle", "name": "Kettle", "location": "Kitchen"})
    RegisteredDevice.model_validate(new)
    own = await api.stranger().get("/api/v1/device", headers=bearer(new["token"]))
    assert own.json()["device_id"] == "kettle"
    device = await api.get("devices/kettle")
    assert (device["name"], device["location"]) == ("Kettle", "Kitchen")
    assert new["token"] not in str(device)
    assert (await ask(api, "POST", path, 409, json={"device_id": "kettle", "name": "x"}))["type"].endswith("id-taken")


async def test_another_token_ends_the_old_one(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    old = api.members.device_tokens["kettle"]
    new = (await ask(api, "POST", "devices/kettle/token", 200))["token"]
    assert (await api.program(old).get("/api/v1/device")).status_code == 401
    assert (await api.program(new).get("/api/v1/device")).status_code == 200
    await ask(api, "DELETE", "devices/kettle", 204)
    assert (await api.program(new).get("/api/v1/device")).status_code == 401
    for method, path in (("DELETE", "devices/kettle"), ("POST", "devices/kettle/token")):
        assert (await ask(api, method, path, 409))["type"] == "/problems/decommissioned"


async def test_a_list_with_a_wrong_line_registers_nothing_and_names_every_one(api: ApiCorner) -> None:
    api.members.register(api.members.sign_up("bob").tenant_id, "theirs")
    path = f"/api/v1/tenants/{api.owner.tenant_id}/devices/bulk"
    lines = [
        "device_id,name,location",
        "good,Good,Hall",
        "bad id,Bad,",
        "good,Again,",
        "theirs,Mine,",
        "bridge,Broker,",
        'noname,,"two\nlines"',
        "many,a,b,c,d",
    ]
    csv = {"Content-Type": "text/csv"}
    answer = await api.client.post(path, content="\r\n".join(lines), headers=csv)
    assert answer.status_code == 422
    problem = Problem.model_validate(answer.json())
    assert problem.errors is not None
    assert [error.parameter for error in problem.errors] == [f"line {number}" for number in (3, 4, 5, 6, 8, 9)]
    assert "line 2" in problem.errors[1].detail
    assert (await api.get("devices"))["items"] == []
    for body, status in ((b"\xff\xfe", 422), (b"", 422), (b"name\r\nx", 422), (b"device_id,name\r\n", 422)):
        assert (await api.client.post(path, content=body, headers=csv)).status_code == status, body
    assert (await api.client.post(path, json={})).status_code == 415
    many = "device_id,name\r\n" + "".join(f"d{n},x\r\n" for n in range(5001))
    assert "5000" in (await api.client.post(path, content=many, headers=csv)).json()["detail"]


async def test_a_list_is_read_beside_the_event_loop(api: ApiCorner, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, read_devices = [], registration.read_devices

    def read_here(body: bytes, access: Access, tenant_id: str) -> list[NewDevice]:
        threads.append(threading.current_thread())
        return read_devices(body, access, tenant_id)

    monkeypatch.setattr(registration, "read_devices", read_here)
    path, csv = f"tenants/{api.owner.tenant_id}/devices/bulk", {"Content-Type": "text/csv"}
    await ask(api, "POST", path, 201, content=b"device_id,name\nd1,One\n", headers=csv)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_a_good_list_answers_tokens_as_json_or_csv(api: ApiCorner) -> None:
    path = f"/api/v1/tenants/{api.owner.tenant_id}/devices/bulk"
    body = "\ufeffdevice_id,name,location\r\nd1,One,Hall\r\nd2,Two,\r\n"
    answer = await api.client.post(path, content=body.encode(), headers={"Content-Type": "text/csv; charset=utf-8"})
    assert answer.status_code == 201, answer.text
    assert [item["device_id"] for item in answer.json()["items"]] == ["d1", "d2"]
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = await api.client.post(path, content=b"device_id,name\nd3,Three\n", headers=headers)
    header, line = answer.text.split("\r\n")[:2]
    assert header == "device_id,token"
    assert (await api.program(line.split(",")[1]).get("/api/v1/device")).json()["device_id"] == "d3"


async def test_what_is_absent_in_a_description_stays(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    assert (await ask(api, "PATCH", "devices/kettle", 200, json={"location": "Hall"}))["name"] == "kettle"
    assert (await ask(api, "PATCH", "devices/kettle", 200, json={"name": "Kettle"}))["location"] == "Hall"
    assert (await ask(api, "PATCH", "devices/kettle", 200, json={"location": None}))["location"] is None


# --- configuration and shares -----------------------------------------------------------------------------


async def test_a_configuration_is_confirmed_once_the_socket_reports_its_version(api: ApiCorner) -> None:
    api.add_device("kettle", config=1)
    state = await api.get("devices/kettle/configuration")
    assert (state["version"], state["confirmed"]) == (0, False)
    wished = {"interval_ms": 5000, "time_zone": "Europe/Berlin", "min_voltage_mv": 200_000, "max_voltage_mv": 250_000}
    state = await ask(api, "PUT", "devices/kettle/configuration", 200, json=wished)
    ConfigurationState.model_validate(state)
    assert (state["desired"], state["version"], state["confirmed"]) == (wished, 1, True)
    command = await ask(api, "GET", state["command_url"].removeprefix("/api/v1/"), 200)
    assert command["order"]["config"] == wished
    assert (await ask(api, "PUT", "devices/kettle/configuration", 200, json=wished))["command_url"] is None
    own = await api.program(api.members.device_tokens["kettle"]).get("/api/v1/devices/kettle/configuration")
    assert own.json()["desired"] == wished


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_zone": "Mars/Olympus"},
        {"min_voltage_mv": 250_000, "max_voltage_mv": 250_000},
        {"interval_ms": 1},
        {"interval_ms": "5000"},
        {"interval_ms": True},
        {"power_on": "maybe"},
        {"version": 3},
    ],
)
async def test_a_wrong_configuration_is_named(api: ApiCorner, wrong: dict[str, Any]) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    problem = Problem.model_validate(await ask(api, "PUT", "devices/kettle/configuration", 422, json=wrong))
    assert problem.errors


async def test_sharing_answers_the_same_for_an_unknown_email(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    bob = api.members.sign_up("bob")
    answers = [
        await ask(api, "POST", "devices/kettle/shares", 202, json={"email": email, "permission": "switch"})
        for email in (bob.email, "nobody@example.org")
    ]
    assert answers[0] | {"email": ""} == answers[1] | {"email": ""}
    shares = await api.get("devices/kettle/shares")
    assert shares["items"] == [{"user_id": bob.user_id, "name": "bob", "permission": "switch"}]
    person = await api.person(bob)
    assert (await person.get("/api/v1/devices/kettle")).status_code == 200
    await ask(api, "PUT", f"devices/kettle/shares/{bob.user_id}", 204, json={"permission": "view"})
    assert (await person.post("/api/v1/devices/kettle/commands", json=ON)).status_code == 403
    await ask(api, "DELETE", f"devices/kettle/shares/{bob.user_id}", 204)
    assert (await person.get("/api/v1/devices/kettle")).status_code == 404


# --- commands ---------------------------------------------------------------------------------------------


async def test_a_command_is_there_right_after_it_was_accepted(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    answer = await api.client.post("/api/v1/devices/kettle/commands", json=ON, headers={"X-Correlation-Id": "abc-1"})
    assert answer.status_code == 202, answer.text
    accepted = AcceptedCommand.model_validate(answer.json())
    assert answer.headers["location"] == accepted.url
    assert answer.headers["x-correlation-id"] == "abc-1"
    command = Command.model_validate((await api.client.get(accepted.url)).json())
    assert (command.state, command.who, command.why, command.correlation_id) == ("requested", "olga", "user", "abc-1")
    assert (command.expires_at - command.requested_at).total_seconds() == 30


async def test_the_ending_of_a_command_tells_how_long_it_took(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    accepted = await ask(api, "POST", "devices/kettle/commands", 202, json=ON)
    lifecycle = api.members.application.lifecycle

    def acted(command: Decided) -> None:
        sent = system_cause("dispatcher", command.created_on)
        command.advance(sent, online=True)
        done = system_cause("dispatcher", command.created_on.replace(microsecond=34_000))
        command.acknowledge(done, relay=True, reported_at=None)

    lifecycle.change(Decided, UUID(accepted["command_id"]), acted)
    command = await ask(api, "GET", accepted["url"].removeprefix("/api/v1/"), 200)
    assert (command["state"], command["attempts"], command["latency_ms"]) == ("acknowledged", 1, 34)


async def test_the_same_key_is_the_same_command_and_with_another_body_a_conflict(api: ApiCorner) -> None:
    api.members.register(api.owner.tenant_id, "kettle", "lamp")
    for body, other in (
        (ON, {"type": "switch", "relay": False}),
        (ON | {"expires_in_s": 60}, ON),
        ({"type": "configure", "config": {"interval_ms": 2000}}, {"type": "configure", "config": {}}),
        (CALIBRATE | {"reference": {"voltage_mv": 230_000}}, CALIBRATE | {"reference": {"power_mw": 230_000}}),
    ):
        headers = {"Idempotency-Key": f"key-{body['type']}-{body.get('expires_in_s')}"}
        first = await ask(api, "POST", "devices/kettle/commands", 202, json=body, headers=headers)
        assert await ask(api, "POST", "devices/kettle/commands", 202, json=body, headers=headers) == first
        problem = await ask(api, "POST", "devices/kettle/commands", 409, json=other, headers=headers)
        assert problem["type"] == "/problems/idempotency-key-reused"
        elsewhere = await ask(api, "POST", "devices/lamp/commands", 202, json=body, headers=headers)
        assert elsewhere["command_id"] != first["command_id"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"type": "explode"},
        {"type": "switch"},
        {"type": "switch", "relay": 1},
        {"type": "toggle", "relay": True},
        {"type": "configure"},
        {"type": "calibrate"},
        {"type": "calibrate", "reference": {}},
        {"type": "calibrate", "reference": {"power_mw": 9_999}},
        {"type": "toggle", "expires_in_s": 0},
        {"type": "toggle", "expires_in_s": 86_401},
        {"type": "toggle", "actor": "user:somebody-else"},
    ],
)
async def test_a_wrong_command_is_refused(api: ApiCorner, wrong: dict[str, Any]) -> None:
    api.members.register(api.owner.tenant_id, "kettle")
    await ask(api, "POST", "devices/kettle/commands", 422, json=wrong)


async def test_a_command_of_another_device_is_not_found(api: ApiCorner) -> None:
    bob = api.members.sign_up("bob")
    api.members.register(api.owner.tenant_id, "kettle", "lamp")
    api.members.register(bob.tenant_id, "theirs")
    accepted = await ask(api, "POST", "devices/kettle/commands", 202, json=ON)
    await ask(api, "GET", f"devices/lamp/commands/{accepted['command_id']}", 404)
    person = await api.person(bob)
    assert (await person.get(accepted["url"])).status_code == 404
    path = f"/api/v1/devices/theirs/commands/{accepted['command_id']}"
    assert (await person.get(path)).json()["type"] == "/problems/unknown-command"
