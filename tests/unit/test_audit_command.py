"""`wattaway audit` shows the whole stream of one thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from domain.errors import InvalidInput, Missing
from domain.firmware_keys import public_pem, read_public_keys
from domain.lifecycle.cause import Cause
from domain.lifecycle.sockets import NewDevice
from ops.application import open_application
from ops.audit import stream_of
from ops.cli import app
from ops.wiring import migrate
from tests.firmware.signed_images import BOARD, image, key
from tests.servers import settings_from
from tests.unit.lifecycle_parts import Parts, cause, forget


def test_a_stream_tells_every_change_in_clear_and_no_secret() -> None:
    parts = Parts()
    _, home = parts.sign_up("ann")
    parts.sockets.register(home, [NewDevice("kettle", "Kettle", "Kitchen")], cause())
    parts.sockets.describe("kettle", home, cause("user:ann"), name="Old kettle", location=None)
    parts.sockets.rotate_token("kettle", cause())
    lines = stream_of("device:kettle", parts.lifecycle, parts.personal)
    assert [line.event for line in lines] == [
        "device-registered.v1",
        "device-described.v1",
        "device-described.v1",
        "device-token-rotated.v1",
    ]
    assert (lines[2].said["name"], lines[2].before["location"], lines[2].actor) == ("Old kettle", "Kitchen", "user:ann")
    assert "sha256" not in repr(lines)
    assert "hash" not in repr(lines)


def test_the_releases_of_a_board_are_a_stream_too() -> None:
    parts = Parts(read_public_keys(public_pem(key(0))))
    parts.firmware.publish(image(2), "steadier Wi-Fi", cause("user:ann"))
    parts.firmware.withdraw(BOARD, 2, "it is not", cause("user:bob"))
    begun, published, withdrawn = stream_of(f"firmware:{BOARD}", parts.lifecycle, parts.personal)
    assert (begun.event, published.said["notes"], published.actor) == (
        "firmware-begun.v1",
        "steadier Wi-Fi",
        "user:ann",
    )
    assert (withdrawn.event, withdrawn.said["reason"], withdrawn.actor) == (
        "firmware-withdrawn.v1",
        "it is not",
        "user:bob",
    )
    with pytest.raises(Missing):
        stream_of("firmware:unknown", parts.lifecycle, parts.personal)


def test_what_was_forgotten_is_not_shown() -> None:
    parts = Parts()
    parts.sign_up("admin")
    ann, home = parts.sign_up("ann")
    assert stream_of(f"user:{ann}", parts.lifecycle, parts.personal)[0].said["name"] == "ann"
    forget(parts, ann)
    lines = stream_of(f"user:{ann}", parts.lifecycle, parts.personal)
    assert lines[0].said == {"email": None, "name": None}
    assert lines[-1].event == "user-forgotten.v1"
    founded, dissolved = stream_of(f"tenant:{home}", parts.lifecycle, parts.personal)
    assert (founded.said["name"], dissolved.event) == (None, "tenant-dissolved.v1")


@pytest.mark.parametrize("thing", ["kettle", "lamp:x", "user:nobody", ""])
def test_what_names_no_thing_is_refused(thing: str) -> None:
    parts = Parts()
    with pytest.raises(InvalidInput):
        stream_of(thing, parts.lifecycle, parts.personal)


def test_a_thing_of_another_kind_is_not_there() -> None:
    parts = Parts()
    ann, _ = parts.sign_up("ann")
    for thing in (f"tenant:{ann}", "device:nothing"):
        with pytest.raises(Missing):
            stream_of(thing, parts.lifecycle, parts.personal)


def test_the_command_prints_json_for_programs(tmp_path: Path) -> None:
    settings = settings_from({"WATTAWAY_DATA_DIR": str(tmp_path)})
    migrate(settings)
    with open_application(settings) as application:
        at = cause()
        tenant_id, _ = application.tenancy.found(Cause(at.at, "system:test", "c-1"), name="Home", owner_id=None)
    ran = CliRunner().invoke(app, ["audit", f"tenant:{tenant_id}", "--json", "--data-dir", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    (line,) = json.loads(ran.output)
    assert (line["event"], line["said"]["name"], line["correlation_id"]) == ("tenant-founded.v1", "Home", "c-1")
