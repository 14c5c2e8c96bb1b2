"""Sets a socket up over its serial cable: its Wi-Fi, then its servers and its token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from domain.errors import SettingInvalid
from firmware_mpy.access import BadAccess, http_server, mqtt_server, server_members, wifi_members
from firmware_mpy.improv import AUTHORIZATION_REQUIRED, BadFrame, pack_strings
from ops.firmware.improv_line import ImprovLine, SocketSilent
from ops.firmware.serial_ports import open_port

BAUD = 115_200
"""Source: MicroPython documentation, "Quick reference for the ESP32"."""
_TRIES = 3
_AUTHORITY_MAX = 2_900
_MEMBERS = {"mqtt": "--server", "http": "--https", "device_id": "--device-id", "ssid": "--ssid"}


@dataclass(frozen=True)
class SetUp:
    """What a socket is told, checked as the firmware does.

    Args:
        wifi: name and password.
        server: MQTT server, device id, token and, perhaps, web server; empty: only the Wi-Fi.
        authority: PEM of who signed the servers' certificate.
    """

    wifi: list[bytes] = field(repr=False)
    server: list[bytes] = field(default_factory=list, repr=False)
    authority: bytes = b""

    def __post_init__(self) -> None:
        try:
            wifi_members(self.wifi)
            if self.server:
                server_members(self.server)
            pack_strings(self.server)
        except BadAccess as error:
            member = str(error)
            raise SettingInvalid(f"{_MEMBERS.get(member, f'the {member}')} cannot be used") from error
        except BadFrame as error:
            raise SettingInvalid("servers, device id and token are too long together") from error
        if _wants_tls(self.server) and not self.authority:
            raise SettingInvalid("mqtts:// and https:// need --ca, or the socket trusts no server")


def authority_in(path: Path) -> bytes:
    """The certificate in this file.

    Raises:
        SettingInvalid: there is none, or more than one, or it is too long for a socket.
    """
    try:
        content = path.read_bytes()
        count = len(load_pem_x509_certificates(content))
    except (OSError, ValueError) as error:
        raise SettingInvalid(f"--ca: {path} holds no certificate in PEM") from error
    if count != 1 or len(content) > _AUTHORITY_MAX:
        raise SettingInvalid(f"--ca: {path} must hold one certificate alone, in {_AUTHORITY_MAX} bytes at most")
    return content


def set_up(port: str, told: SetUp, say: Callable[[str], None]) -> None:
    """Set up the socket on this port.

    A socket that knew all before restarts once something new is kept, and may miss what comes next: it is told again.

    Raises:
        PortUnusable: no such port, no permission, or the cable has gone.
        SocketRefuses: one of Improv's errors.
        SocketSilent: no answer in time.
    """
    with open_port(port, BAUD) as line:
        socket = ImprovLine(line)
        if socket.state() == AUTHORIZATION_REQUIRED:
            say("press the socket's button")
            socket.authorized()
        say(f"{port}: {' · '.join(socket.info())}")
        _repeat(socket, lambda: socket.join(*told.wifi))
        say("it has joined the Wi-Fi")
        if told.server:
            _repeat(socket, lambda: socket.tell_server(told.server, told.authority))
            say("it knows its servers, and restarts")


def _repeat(socket: ImprovLine, step: Callable[[], None]) -> None:
    for _ in range(_TRIES - 1):
        try:
            return step()
        except SocketSilent:
            socket.state()
    return step()


def _wants_tls(server: list[bytes]) -> bool:
    if not server:
        return False
    web = server[3].decode() if len(server) > 3 else ""
    return mqtt_server(server[0].decode())[2] or bool(web and http_server(web)[2])
