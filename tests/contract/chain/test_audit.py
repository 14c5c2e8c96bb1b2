"""An action is followed from its request to its audit record, and the audit log is for admins."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient
from typer.testing import CliRunner

from domain.events import LIFECYCLE_TOPIC
from ops.cli import app
from tests.contract.api.members import Member
from tests.contract.chain.asking import audited, in_pages, one_of, saying, whole_audit
from tests.full_chain import FullChain, ask, eventually
from tests.log_reader import read_log

pytestmark = [pytest.mark.embedded, pytest.mark.asyncio(loop_scope="package")]

OFF = {"type": "switch", "relay": False}


async def cli_audit(chain: FullChain, thing: str) -> Any:
    """What `wattaway audit` prints for programs."""
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["audit", thing, "--json"], env=chain.world.env)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.output)


async def test_a_correlation_id_goes_from_the_request_through_event_kafka_and_socket_into_the_audit_log(
    chain: FullChain, olga: AsyncClient
) -> None:
    headers = {"X-Correlation-Id": "switch-it-1"}
    answer = await olga.post(f"/api/v1/devices/{chain.plug_id}/commands", json=OFF, headers=headers)
    assert (answer.status_code, answer.headers["X-Correlation-Id"]) == (202, "switch-it-1")
    command_id = answer.json()["command_id"]
    records = await eventually(audited(olga, lambda items: len(items) == 3, correlation_id="switch-it-1"))
    assert [(one["action"], one["actor"], one["who"]) for one in reversed(records)] == [
        ("command-requested", f"user:{chain.olga.user_id}", "olga"),
        ("command-dispatched", "system:dispatcher", None),
        ("command-acknowledged", f"device:{chain.plug_id}", None),
    ]
    assert {one["subject"] for one in records} == {f"command:{command_id}"}
    assert records[-1]["origin"] == "127.0.0.1"
    assert chain.plug.acted_ids == [UUID(command_id)]
    events: list[Any] = list(chain.application.lifecycle.events.get(UUID(command_id)))
    assert {event.correlation_id for event in events} == {"switch-it-1"}
    log = [one for one in await read_log(chain.world, LIFECYCLE_TOPIC) if command_id.encode() in (one.value or b"")]
    assert [dict(one.headers)["ce_id"].decode() for one in log] == [one["id"] for one in reversed(records)]
    assert {json.loads(one.value or b"")["correlation_id"] for one in log} == {"switch-it-1"}
    assert all(b"switch-it-1" in (one.value or b"") for one in log)


async def test_before_and_after_are_told_and_no_secret_is(chain: FullChain, olga: AsyncClient) -> None:
    lamp_id, home = chain.world.device_id("lamp"), f"tenants/{chain.olga.tenant_id}/devices"
    lamp = await ask(olga, "POST", home, 201, json={"device_id": lamp_id, "name": "Lamp", "location": "Attic"})
    await ask(olga, "PATCH", f"devices/{lamp_id}", 200, json={"name": "Old lamp", "location": "Cellar"})
    for interval_ms in (5_000, 7_000):
        await ask(olga, "PUT", f"devices/{lamp_id}/configuration", 200, json={"interval_ms": interval_ms})
    rotated = await ask(olga, "POST", f"devices/{lamp_id}/token", 200)
    records = await eventually(audited(olga, saying("device-token-rotated"), subject=f"device:{lamp_id}"))
    described, configured = (one_of(records, action) for action in ("device-described", "device-configured"))
    assert described["before"] == {"name": "Lamp", "location": "Attic"}
    assert {"name": "Old lamp", "location": "Cellar"}.items() <= described["after"].items()
    assert configured["before"] == {"config": {"interval_ms": 5_000}, "config_version": 1}
    assert configured["after"]["config"] == {"interval_ms": 7_000}
    stream = await cli_audit(chain, f"device:{lamp_id}")
    assert [line["said"].get("name") for line in stream][:3] == ["Lamp", "Lamp", "Old lamp"]
    assert [line["correlation_id"] for line in reversed(stream)] == [one["correlation_id"] for one in records]
    everything = f"{await whole_audit(olga)} {stream}"
    passwords = [chain.olga.password, olga.headers["X-CSRF-Token"], *olga.cookies.values()]
    for secret in (
        *passwords,
        *(token for one in (lamp, rotated) for token in (one["token"], sha256(one["token"].encode()).hexdigest())),
    ):
        assert secret not in everything
    assert "$argon2" not in everything and "$7$" not in everything and "sealed" not in everything


async def test_denied_attempts_are_audited_and_only_admins_see_it(chain: FullChain, olga: AsyncClient) -> None:
    bob = chain.sign_up("bob@example.org", name="=bob")
    invitation = await ask(olga, "POST", f"tenants/{chain.olga.tenant_id}/invitations", 201, json={"role": "viewer"})
    vera = Member("", "", "vera@example.org", "vera's long password")
    new = {"email": vera.email, "name": "Vera", "password": vera.password, "invitation": invitation["token"]}
    await ask(chain.stranger(), "POST", "users", 202, json=new)
    viewer, neighbour, nobody = await chain.person(vera), await chain.person(bob), chain.stranger()
    socket = chain.program(chain.plug_token)
    path = f"devices/{chain.plug_id}"
    for client, name in ((viewer, "viewer"), (neighbour, "neighbour"), (nobody, "nobody"), (socket, "socket")):
        client.headers["X-Correlation-Id"] = f"denied-{name}"
    await ask(viewer, "POST", f"{path}/commands", 403, json=OFF)
    await ask(neighbour, "GET", path, 404)
    for client, status in ((viewer, 403), (neighbour, 403), (socket, 403), (nobody, 401)):
        await ask(client, "GET", "audit", status)
    await ask(nobody, "POST", "session", 401, json={"email": vera.email, "password": "not her password"})
    denied = await eventually(audited(olga, lambda items: len(items) >= 6, denied=True))
    told = {(one["correlation_id"], one["action"], one["subject"], one["who"], one["reason"]) for one in denied}
    plug = f"device:{chain.plug_id}"
    assert told >= {
        ("denied-viewer", "device.switch", plug, "Vera", "forbidden"),
        ("denied-neighbour", "device.see", plug, "=bob", "unknown-device"),
        ("denied-viewer", "site.audit", "site", "Vera", "forbidden"),
        ("denied-neighbour", "site.audit", "site", "=bob", "forbidden"),
        ("denied-socket", "site.audit", "site", None, "forbidden"),
    }
    wrong = one_of(denied, "session.begin")
    assert (wrong["actor"], wrong["origin"], wrong["reason"]) == ("anonymous", "127.0.0.0/24", "wrong-credentials")
    assert all(one["denied"] and vera.email not in str(one) for one in denied)
    assert not {one["id"] for one in denied} & {one["id"] for one in await audited(olga, bool, denied=False)()}


async def test_the_audit_log_is_filtered_paged_and_exported(chain: FullChain, olga: AsyncClient) -> None:
    await chain.person(chain.sign_up("carl@example.org", name="=carl"))
    for number in range(15):
        headers = {"X-Correlation-Id": f"named-{number}"}
        await ask(olga, "PATCH", f"devices/{chain.plug_id}", 200, json={"name": f"Plug {number}"}, headers=headers)
    await eventually(audited(olga, saying("device-described"), correlation_id="named-14"))
    everything = await in_pages(olga, "audit", 7)
    assert len(everything) > 20 and len({one["id"] for one in everything}) == len(everything)
    assert everything == sorted(everything, key=lambda one: one["at"], reverse=True)
    some = one_of(everything, "device-described")
    for name, value in (
        ("actor", some["actor"]),
        ("subject", some["subject"]),
        ("device_id", some["device_id"]),
        ("correlation_id", some["correlation_id"]),
    ):
        found = await in_pages(olga, "audit", 5, **{"device" if name == "device_id" else name: value})
        assert found == [one for one in everything if one[name] == value], name
    between = await in_pages(olga, "audit", 5, **{"from": some["at"], "to": everything[0]["at"]})
    assert between == [one for one in everything if some["at"] <= one["at"] < everything[0]["at"]]
    lines = (await whole_audit(olga, "application/x-ndjson")).splitlines()
    assert [json.loads(line) for line in lines] == everything
    rows = list(csv.DictReader(io.StringIO(await whole_audit(olga, "text/csv"))))
    assert [(row["at"], row["subject"], row["who"]) for row in rows] == [
        (one["at"], one["subject"], (one["who"] or "").replace("=", "'=")) for one in everything
    ]
    assert "'=carl" in {row["who"] for row in rows}
    assert [json.loads(row["before"]) for row in rows] == [one["before"] for one in everything]
    assert (await olga.get("/api/v1/audit", headers={"Accept": "image/png"})).status_code == 406
