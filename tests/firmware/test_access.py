"""What a socket is told at set-up is checked, alike in MicroPython and CPython, and kept over a restart."""

from __future__ import annotations

import access
import flash_layout
import hal
import pytest
from access import Access, BadAccess, http_server, mqtt_server, server_members, uplink_server, wifi_members
from flash import SECTOR_SIZE, Flash, PowerCut
from flash_ring import FlashRing
from hypothesis import given
from hypothesis import strategies as st
from records import Record

from tests.firmware.micropython import Worker, here

TOKEN = b"0123456789abcdef" * 4


def owned() -> None:
    """A socket that somebody has used, and whose button was held."""
    flash_layout.record("energy").save(b"12345678")
    for name in ("configuration", "commands", "relay", "bases"):
        flash_layout.record(name).save(b"theirs")
    ring = FlashRing(hal.Flash("ring"))
    for seq in range(100):
        ring.append(7, seq, b"reading")
    kept = Access(flash_layout.record("access"))
    kept.keep({"ssid": "Home"})
    kept.keep({"token": "theirs"})
    kept.keep({"forget": True})


def theirs() -> list[str]:
    names = [name for name in ("configuration", "commands", "relay", "bases") if flash_layout.record(name).load()]
    return [*names, *["ring"] * len(FlashRing(hal.Flash("ring")))]


@pytest.mark.parametrize(
    ("mqtt", "http", "web"),
    [
        ("mqtts://engine.org", "https://engine.org", ("engine.org", 443, True)),
        ("mqtts://engine.org", "", ("engine.org", 80, False)),
        ("mqtt://engine.org", "http://web.org:81", ("web.org", 81, False)),
        ("mqtt://engine.org", "", None),
    ],
)
def test_who_is_asked_for_the_time_where_there_is_no_ntp(
    mqtt: str, http: str, web: tuple[str, int, bool] | None
) -> None:
    server = uplink_server({"mqtt": mqtt, "http": http, "device_id": "d", "token": TOKEN.decode(), "ca": "pem"})
    assert server is not None
    assert server.get("web") == web


@pytest.mark.parametrize("torn", range(8))
def test_a_factory_reset_that_a_power_cut_stops_goes_on_before_anybody_else_owns_it(
    monkeypatch: pytest.MonkeyPatch, torn: int
) -> None:
    cuts = 0
    for name in ("ring", "state"):
        for cut in range(100):
            state, ring = Flash(flash_layout.STATE_SIZE), Flash(4 * SECTOR_SIZE)
            monkeypatch.setattr(hal.board, "flashes", {"state": state, "ring": ring})
            owned()
            fed: list[int] = []
            kept, chosen = Access(flash_layout.record("access")), hal.board.flashes[name]
            chosen.cut_after, chosen.torn = cut, torn + 8 * cut
            try:
                flash_layout.forget_owner(kept, lambda fed=fed: fed.append(1))
            except PowerCut:
                chosen.cut_after, cuts = None, cuts + 1
                kept = Access(flash_layout.record("access"))
                assert kept.members.get("forget") if kept.members else not theirs()
                flash_layout.forget_owner(kept, bool)
            else:
                assert len(fed) >= 4, "the watchdog"
            assert (kept.members, theirs(), Access(flash_layout.record("access")).members) == ({}, [], {})
            assert flash_layout.record("energy").load() == b"12345678"
            if chosen.cut_after is not None:
                break
    assert cuts == 4 + 10


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
