"""What a socket is told at set-up is checked, alike in MicroPython and CPython, and kept over a restart."""

from __future__ import annotations

import access
import pytest
from access import Access, BadAccess, http_server, mqtt_server, server_members, wifi_members
from flash import SECTOR_SIZE, Flash
from hypothesis import given
from hypothesis import strategies as st
from records import Record

from tests.firmware.micropython import Worker, here

TOKEN = b"0123456789abcdef" * 4


def test_servers_have_the_usual_ports_unless_told() -> None:
    assert mqtt_server("mqtts://mqtt.example.org") == ("mqtt.example.org", 8883, True)
    assert mqtt_server("mqtt://10.0.0.2:1884") == ("10.0.0.2", 1884, False)
    assert http_server("https://example.org") == ("example.org", 443, True)


@pytest.mark.parametrize(
    "url", ["", "example.org", "http://h", "mqtts://", "mqtts://h:", "mqtts://h:65536", "mqtts://h/"]
)
def test_what_is_no_mqtt_server_is_refused(url: str, worker: Worker) -> None:
    with pytest.raises(BadAccess):
        mqtt_server(url)
    assert worker.call("access", "mqtt_server", url) == {"error": "BadAccess"}


def test_a_refusal_never_repeats_a_secret() -> None:
    with pytest.raises(BadAccess) as refused:
        server_members([b"mqtt://h", b"kettle", b"s3cret"])
    assert "s3cret" not in str(refused.value)


@given(
    wifi=st.lists(st.binary(max_size=70), min_size=1, max_size=3),
    server=st.sampled_from([b"mqtt://h", b"mqtts://h:1", b"", b"mqtt:/h", b"mqtt://h:0", b"mqtt://h:x", b"\xff"]),
    device_id=st.sampled_from([b"kettle", b"", b"a b", b"x" * 65, "ä".encode()]),
    token=st.sampled_from([TOKEN, TOKEN[1:], TOKEN.upper(), b""]),
    more=st.lists(st.sampled_from([b"https://h", b"", b"mqtt://h"]), max_size=2),
)
def test_micropython_and_cpython_agree(
    worker: Worker, wifi: list[bytes], server: bytes, device_id: bytes, token: bytes, more: list[bytes]
) -> None:
    told = [server, device_id, token, *more]
    assert worker.call("access", "server_members", told) == here(access.server_members, told)
    names = [name.decode(errors="ignore").encode() for name in wifi]
    assert worker.call("access", "wifi_members", names) == here(access.wifi_members, names)


def test_what_was_told_is_kept_and_added_to() -> None:
    flash = Flash(2 * SECTOR_SIZE)
    first = Access(Record(flash, 0, SECTOR_SIZE))
    assert not first.knows_wifi
    first.keep(wifi_members([b"Home", b"pass"]))
    first.keep(server_members([b"mqtts://example.org", b"kettle", TOKEN]))
    again = Access(Record(flash, 0, SECTOR_SIZE))
    assert again.knows_wifi
    assert again.knows_server
    assert again.members == {
        "ssid": "Home",
        "password": "pass",
        "mqtt": "mqtts://example.org",
        "device_id": "kettle",
        "token": TOKEN.decode(),
        "http": "",
    }
