"""`wattaway firmware provision` with the whole firmware, as it is flashed, at the other end of the cable."""

from __future__ import annotations

import os
import pty
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from typer.testing import CliRunner, Result

from domain.errors import SettingInvalid
from firmware_mpy import improv
from ops.cli import app
from ops.firmware.files import Release, application_files, file_system, flashed_files
from ops.firmware.improv_line import ImprovLine, SocketRefuses, SocketSilent
from ops.firmware.partitions import table_bytes
from ops.firmware.provisioning import SetUp, set_up
from ops.firmware.serial_ports import PortUnusable, open_port
from tests.firmware.authority import Authority
from tests.firmware.flashed_board import FlashedBoard
from tests.firmware.micropython import FIRMWARE
from tests.firmware.signed_images import modulus

TOKEN = "0123456789abcdef" * 4
# Without the certificate for it, it connects to nobody.
NOWHERE = {"mqtt": "mqtts://127.0.0.1:1", "http": "", "device_id": "old", "token": "ab" * 32}


@pytest.fixture(scope="module")
def flashed() -> bytes:
    description = (FIRMWARE / "boards" / "uart-cse7766.json").read_bytes()
    return file_system(flashed_files(application_files(Release("1.0.0", 1)), description, modulus()))


@pytest.fixture
def board(tmp_path: Path, flashed: bytes) -> FlashedBoard:
    folder = tmp_path / "board"
    folder.mkdir()
    made = FlashedBoard(folder, table_bytes(), flashed)
    # It asks nobody outside of this machine for the time.
    made.tell(ntp=[])
    return made


def provisioned(port: str, *words: str, secrets: str) -> Result:
    said = ["firmware", "provision", "--port", port, "--password-file", "-", *words]
    return CliRunner().invoke(app, said, input=secrets)


def test_a_new_socket_is_told_its_wifi_and_its_servers(board: FlashedBoard, tmp_path: Path) -> None:
    ca = Authority(tmp_path, "ours").path
    server = ["--server", "mqtts://127.0.0.1:1", "--https", "https://127.0.0.1:1", "--ca", str(ca)]
    with board.plugged_in() as port:
        ran = provisioned(
            port, "--ssid", "Home", *server, "--device-id", "kettle", "--token-file", "-", secrets=f"pass\n{TOKEN}\n"
        )
    assert ran.exit_code == 0, ran.exception
    assert "WattAway · 1.0.0 · ESP32 · uart-cse7766" in ran.output
    assert TOKEN not in ran.output
    assert "pass" not in ran.output
    wifi = {"ssid": "Home", "password": "pass"}
    servers = {"mqtt": "mqtts://127.0.0.1:1", "http": "https://127.0.0.1:1", "device_id": "kettle", "token": TOKEN}
    assert board.told() == {"ntp": [], **wifi, **servers, "ca": ca.read_text()}


def test_a_socket_that_knew_all_restarts_on_the_way_and_is_told_again(board: FlashedBoard) -> None:
    board.tell(ssid="Old", password="old", **NOWHERE)
    server = [b"mqtt://127.0.0.1:2", b"kettle", TOKEN.encode()]
    with board.plugged_in() as port:
        # Whoever waits between two steps meets the restart.
        set_up(port, SetUp([b"Home", b"pass"], server), lambda _: time.sleep(0.5))
    assert board.starts >= 2
    told = board.told()
    assert (told["ssid"], told["mqtt"], told["token"]) == ("Home", "mqtt://127.0.0.1:2", TOKEN)


def test_a_wrong_password_is_said_and_nothing_is_kept(board: FlashedBoard) -> None:
    with board.plugged_in(patient=False) as port:
        ran = provisioned(port, "--ssid", "Home", secrets="wrong\n")
    assert isinstance(ran.exception, SocketRefuses)
    assert str(ran.exception) == "the socket cannot join the Wi-Fi: a wrong password, or out of reach"
    assert board.told() == {"ntp": []}


def test_a_part_of_a_certificate_without_its_beginning_is_refused(board: FlashedBoard) -> None:
    with board.plugged_in() as port, open_port(port, 115_200) as line:
        socket = ImprovLine(line)
        socket.state()
        with pytest.raises(SocketRefuses) as refusal:
            socket._result(improv.SEND_CA, b"\x01 the second part")
        assert refusal.value.error == improv.INVALID_RPC


@pytest.fixture
def echo() -> Iterator[serial.SerialBase]:
    """A line that gives back what is written to it."""
    with open_port("loop://", 115_200) as line:
        yield line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (1, "cannot use"),
        (2, "no firmware of ours"),
        (3, "wrong password"),
        (4, "button"),
        (5, "reason"),
        (255, "reason"),
    ],
)
def test_each_error_of_the_standard_is_said_in_words(echo: serial.SerialBase, error: int, words: str) -> None:
    echo.write(improv.pack_serial(improv.ERROR_PACKET, bytes([error])))
    with pytest.raises(SocketRefuses, match=words):
        ImprovLine(echo).info()


def test_a_socket_that_wants_its_button_pressed_is_waited_for(
    echo: serial.SerialBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    required, authorized = (improv.pack_serial(improv.STATE_PACKET, bytes([state])) for state in (1, 2))
    monkeypatch.setattr(time, "sleep", lambda _: echo.write(authorized))
    echo.write(required)
    ImprovLine(echo).authorized(within_s=10)
    echo.write(required)
    with pytest.raises(SocketSilent, match="button"):
        ImprovLine(echo).authorized(within_s=0)


def test_a_silent_port_is_given_up() -> None:
    near, far = pty.openpty()
    tty.setraw(far)
    with open_port(os.ttyname(far), 115_200) as line, pytest.raises(SocketSilent, match="no socket answers within 1 s"):
        ImprovLine(line).state(within_s=1)
    os.close(near)
    os.close(far)


def test_a_port_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(PortUnusable, match=r"there is no /dev/ttyNone7: is the cable in\?"):
        open_port("/dev/ttyNone7", 115_200)
    near, far = pty.openpty()
    with open_port(os.ttyname(far), 115_200) as line:
        os.close(far)
        os.close(near)
        with pytest.raises(PortUnusable, match="cannot be used"):
            ImprovLine(line).state(within_s=5)


MQTT, ID, SECRETS = ["--server", "mqtt://host"], ["--device-id", "d"], f"pass\n{TOKEN}\n"


@pytest.mark.parametrize(
    ("words", "secrets", "why"),
    [
        (["--ssid", "x" * 33], "pass\n", "--ssid cannot be used"),
        ([], "x" * 65 + "\n", "the password cannot be used"),
        (MQTT, "pass\n", "belong together"),
        (["--https", "https://host"], "pass\n", "belong"),
        (["--server", "ftp://host", *ID], SECRETS, "--server cannot be used"),
        ([*MQTT, "--device-id", "a b"], SECRETS, "--device-id cannot be used"),
        ([*MQTT, *ID, "--https", "host"], SECRETS, "--https cannot be used"),
        ([*MQTT, *ID], "pass\nshort\n", "the token cannot be used"),
        (["--server", "mqtts://host", *ID], SECRETS, "need --ca"),
        (["--server", "mqtt://" + "h" * 250, *ID], SECRETS, "too long together"),
    ],
)
def test_what_no_socket_would_take_is_said_before_the_cable_is_used(words: list[str], secrets: str, why: str) -> None:
    more = ["--token-file", "-"] if "--device-id" in words else []
    ran = provisioned(
        "/dev/ttyNone7", *([] if "--ssid" in words else ["--ssid", "Home"]), *words, *more, secrets=secrets
    )
    assert isinstance(ran.exception, SettingInvalid), ran.exception
    assert why in str(ran.exception)


def test_only_one_certificate_that_a_socket_can_hold_is_taken(tmp_path: Path) -> None:
    path = Authority(tmp_path, "ours").path
    for content in (b"no certificate", 2 * path.read_bytes()):
        path.write_bytes(content)
        server = ["--server", "mqtts://host", "--device-id", "d", "--ca", str(path), "--token-file", "-"]
        ran = provisioned("/dev/ttyNone7", "--ssid", "Home", *server, secrets=f"pass\n{TOKEN}\n")
        assert isinstance(ran.exception, SettingInvalid)
        assert str(ran.exception).startswith("--ca: ")
