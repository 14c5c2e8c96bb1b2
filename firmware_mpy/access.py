"""What the socket was told at its set-up: its Wi-Fi, and the servers with its token; checked, and kept in one record.

It comes as lists of strings, as Improv carries them. A refusal names the member, never its value.
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from records import Record

MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}
HTTP_PORTS = {"http": 80, "https": 443}
_SSID_MAX, _PASSWORD_MAX = 32, 64
_ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_HOST_CHARACTERS = _ID_CHARACTERS + "."
_HEX = "0123456789abcdef"


class BadAccess(Exception):
    """Something is missing or is not what it should be; the message names it."""


class Access:
    """
    Args:
        record: `flash_layout.record("access")`.

    Attributes:
        members: `ssid`, `password`; `mqtt`, `device_id`, `token`, `http` (may be empty), `ca` (PEM; absent: none).
    """

    def __init__(self, record: "Record") -> None:
        self._record = record
        kept = record.load()
        self.members = json.loads(kept) if kept else {}

    @property
    def knows_wifi(self) -> bool:
        """Say whether it was told a network."""
        return "ssid" in self.members

    @property
    def knows_server(self) -> bool:
        """Say whether it was told a server."""
        return "mqtt" in self.members

    def keep(self, members: dict) -> None:
        """Add to what is known; once this returns it survives a power cut. Raises ValueError for more than 4 KiB."""
        known = dict(self.members)
        known.update(members)
        self._record.save(json.dumps(known).encode())
        self.members = known

    def forget(self) -> None:
        """Know nothing any more."""
        self._record.erase()
        self.members = {}


def wifi_members(strings: "list[bytes]") -> dict:
    """Return what a list of name and password says. Raises BadAccess."""
    if len(strings) != 2:
        raise BadAccess("name and password")
    if not 0 < len(strings[0]) <= _SSID_MAX:
        raise BadAccess("ssid")
    if len(strings[1]) > _PASSWORD_MAX:
        raise BadAccess("password")
    return {"ssid": _text(strings[0], "ssid"), "password": _text(strings[1], "password")}


def server_members(strings: "list[bytes]") -> dict:
    """Return what a list of MQTT server, device id, token and perhaps web server says. Raises BadAccess."""
    if not 3 <= len(strings) <= 4:
        raise BadAccess("server, device id and token")
    mqtt, device_id, token = [
        _text(string, name)
        for string, name in zip(strings, ("mqtt", "device_id", "token"))  # noqa: B905
    ]
    http = _text(strings[3], "http") if len(strings) == 4 else ""
    mqtt_server(mqtt)
    if http:
        http_server(http)
    if not 0 < len(device_id) <= 64 or any(one not in _ID_CHARACTERS for one in device_id):
        raise BadAccess("device_id")
    if len(token) != 64 or any(one not in _HEX for one in token):
        raise BadAccess("token")
    return {"mqtt": mqtt, "device_id": device_id, "token": token, "http": http}


def mqtt_server(url: str) -> "tuple[str, int, bool]":
    """Return host, port and whether TLS is wanted of `mqtts://host[:port]` or `mqtt://…`. Raises BadAccess."""
    return _server(url, MQTT_PORTS, "mqtt")


def http_server(url: str) -> "tuple[str, int, bool]":
    """Return the same of `https://host[:port]` or `http://…`. Raises BadAccess."""
    return _server(url, HTTP_PORTS, "http")


def uplink_server(members: dict) -> "dict | None":
    """Return what `Uplink` wants of what the access says; None if it wants TLS, but no certificate could be checked."""
    host, port, is_tls = mqtt_server(members["mqtt"])
    server = {"host": host, "port": port, "device_id": members["device_id"], "token": members["token"]}
    if is_tls:
        if not members.get("ca"):
            return None
        server["ca"] = members["ca"].encode()
    if members.get("ntp") is not None:
        server["ntp"] = members["ntp"]
    if members.get("http"):
        server["web"] = http_server(members["http"])
    elif is_tls:
        # It must learn the time before it can check a certificate.
        server["web"] = (host, HTTP_PORTS["http"], False)
    return server


def _server(url: str, ports: dict, name: str) -> "tuple[str, int, bool]":
    scheme, _, rest = url.partition("://")
    host, colon, port = rest.partition(":")
    if scheme not in ports or not host or len(host) > 253 or any(one not in _HOST_CHARACTERS for one in host):
        raise BadAccess(name)
    if not colon:
        return host, ports[scheme], scheme[-1] == "s"
    if not 0 < len(port) <= 5 or any(one not in "0123456789" for one in port) or not 0 < int(port) < 65536:
        raise BadAccess(name)
    return host, int(port), scheme[-1] == "s"


def _text(string: bytes, name: str) -> str:
    try:
        return str(string, "utf-8")
    except (UnicodeError, ValueError):
        raise BadAccess(name) from None
