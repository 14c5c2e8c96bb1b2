"""Setting a socket up: over BLE by a phone, with the button as authorization; and over a serial cable."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import improv
import pytest

from tests.firmware.authority import Authority
from tests.firmware.micropython import SIM, command, environment, run


def test_a_phone_sets_the_socket_up_over_ble(tmp_path: Path) -> None:
    ca = Authority(tmp_path, "ours").path
    heard = dict(run("phone.py", str(tmp_path), str(ca)))
    ok, required, authorized = ["error", 0], ["state", "authorization required"], ["state", "authorized"]
    assert heard["start"] == [["capabilities", 7], ok, required]
    # Service data: state, capabilities and four reserved bytes behind 0x4677.
    assert heard["advertised"] == ["7746010700000000"]
    assert heard["wifi without button"] == [ok, ["error", 4]]
    assert heard["2"] == [ok]
    assert heard["identified"] == [1]
    assert heard["3"] == [ok, ["result", 3, ["WattAway", "1.0.0", "ESP32", "kettle"]]]
    assert heard["4"] == [ok, ["result", 4, ["Cafe", "-50", "NO", "Home", "-70", "WPA2"]]]
    assert heard["66"] == [ok, ["error", 2]]
    assert heard["button"] == [authorized]
    assert heard["a minute later"] == [required]
    assert heard["wrong password, after a broken connection"] == [
        authorized,
        ok,
        ["state", "provisioning"],
        authorized,
        ["error", 3],
    ]
    provisioning = ["state", "provisioning"]
    assert heard["a radio that refuses"] == [ok, provisioning, authorized, ["error", 3]]
    assert heard["wrong checksum"] == [["error", 1]]
    took = [ok, ["result", 0xF1, []]]
    assert heard["a certificate that is cut off"][-4:] == [*took, ok, ["error", 1]]
    assert heard["certificate"] == -(-ca.stat().st_size // 250) * took
    assert heard["server"] == [ok, ["result", 0xF0, []]]
    assert heard["wifi"] == [
        ok,
        ["state", "provisioning"],
        ["state", "provisioned"],
        ["result", 1, ["https://example.org"]],
    ]
    assert heard["a server after the wifi"] == [ok, ["result", 0xF0, []]]
    assert heard["kept then"] == "kettle-2"
    assert heard["kept"] == {
        "ssid": "Home",
        "password": "pass",
        "mqtt": "mqtts://example.org",
        "device_id": "kettle",
        "token": "0123456789abcdef" * 4,
        "http": "https://example.org",
        "ca": ca.read_text(),
    }


class Cable:
    """A computer at the other end of the socket's serial console; a pseudo-terminal lies between."""

    def __init__(self, folder: Path) -> None:
        self._near, far = pty.openpty()
        tty.setraw(far)
        self._socket = subprocess.Popen(
            command(SIM / "cable.py", str(folder)), env=environment(), stdin=far, stdout=far, stderr=far
        )
        os.close(far)
        self._packets = improv.SerialPackets()
        self._heard: list[tuple[int, bytes]] = []

    def close(self) -> None:
        self._socket.kill()
        self._socket.wait()
        os.close(self._near)

    def send(self, packet: bytes) -> None:
        os.write(self._near, packet)

    def hear(self, count: int, within_s: float = 10) -> list[tuple[int, bytes]]:
        deadline = time.monotonic() + within_s
        while len(self._heard) < count:
            ready, _, _ = select.select([self._near], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self._heard
            self._heard += self._packets.feed(os.read(self._near, 1000))
        heard, self._heard = self._heard[:count], self._heard[count:]
        return heard

    def ask(self, number: int, data: bytes, answers: int) -> list[tuple[int, bytes]]:
        self.send(improv.pack_serial(improv.COMMAND_PACKET, improv.pack_rpc(number, data)))
        return self.hear(answers)


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    running = Cable(tmp_path)
    yield running
    running.close()


def result(number: int, *strings: bytes) -> tuple[int, bytes]:
    return improv.RESULT_PACKET, improv.pack_rpc(number, improv.pack_strings(list(strings)))


def test_a_computer_sets_the_socket_up_over_the_serial_cable(cable: Cable, tmp_path: Path) -> None:
    ok, state = (improv.ERROR_PACKET, b"\x00"), improv.STATE_PACKET
    assert cable.ask(improv.REQUEST_STATE, b"", 2) == [ok, (state, b"\x02")]
    told = result(improv.REQUEST_INFO, b"WattAway", b"1.0.0", b"ESP32", b"kettle")
    assert cable.ask(improv.REQUEST_INFO, b"", 2) == [ok, told]
    assert cable.ask(improv.REQUEST_NETWORKS, b"", 4)[1:] == [
        result(improv.REQUEST_NETWORKS, b"Cafe", b"-50", b"NO"),
        result(improv.REQUEST_NETWORKS, b"Home", b"-70", b"YES"),
        result(improv.REQUEST_NETWORKS),
    ]
    (tmp_path / "load_is_on").touch()
    assert cable.ask(improv.REQUEST_NETWORKS, b"", 2) == [ok, (improv.ERROR_PACKET, b"\x04")]
    broken = bytearray(improv.pack_serial(improv.COMMAND_PACKET, b"\x02\x00"))
    broken[-2] ^= 1
    cable.send(bytes(broken))
    assert cable.hear(1) == [(improv.ERROR_PACKET, b"\x01")]
    server = improv.pack_strings([b"mqtts://example.org", b"kettle", b"0123456789abcdef" * 4])
    assert cable.ask(improv.SEND_SERVER, server[:-1], 2) == [ok, (improv.ERROR_PACKET, b"\x01")]
    assert cable.ask(improv.SEND_SERVER, server, 2) == [ok, result(improv.SEND_SERVER)]
    wifi = improv.pack_strings([b"Home", b"pass"])
    assert cable.ask(improv.SEND_WIFI, wifi, 4) == [ok, (state, b"\x03"), (state, b"\x04"), result(improv.SEND_WIFI)]
    assert cable.ask(improv.REQUEST_STATE, b"", 3) == [ok, (state, b"\x04"), result(improv.SEND_WIFI)]
    assert b'"ssid": "Home"' in (tmp_path / "state.bin").read_bytes()
