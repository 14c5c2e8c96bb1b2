"""Improv's frames: the standard's own examples and values, and the same answers in MicroPython as in CPython."""

from __future__ import annotations

from uuid import UUID

import improv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.firmware.micropython import Worker, here

UUIDS = {
    "SERVICE_UUID": "00467768-6228-2272-4663-277478268000",
    "STATE_UUID": "00467768-6228-2272-4663-277478268001",
    "ERROR_UUID": "00467768-6228-2272-4663-277478268002",
    "COMMAND_UUID": "00467768-6228-2272-4663-277478268003",
    "RESULT_UUID": "00467768-6228-2272-4663-277478268004",
    "CAPABILITIES_UUID": "00467768-6228-2272-4663-277478268005",
}
EXAMPLE = bytes.fromhex("011E0C") + b"MyWirelessAP" + bytes.fromhex("10") + b"mysecurepassword"
"""The standard's: SSID = MyWirelessAP, Password = mysecurepassword."""

short = st.binary(max_size=40)


def test_the_identifiers_are_the_standards() -> None:
    assert {name: getattr(improv, name) for name in UUIDS} == UUIDS
    assert improv.SERVICE_DATA_UUID == 0x4677


def test_the_standards_example_of_wifi_settings() -> None:
    data = improv.pack_strings([b"MyWirelessAP", b"mysecurepassword"])
    assert improv.pack_rpc(improv.SEND_WIFI, data) == EXAMPLE
    frame = improv.pack_ble(improv.SEND_WIFI, data)
    assert frame[:-1] == EXAMPLE
    assert frame[-1] == sum(EXAMPLE) % 256
    assert improv.unpack_ble(frame) == (1, data)
    assert improv.unpack_strings(data) == [b"MyWirelessAP", b"mysecurepassword"]


@pytest.mark.parametrize(("command", "frame"), [(2, "020002"), (3, "030003"), (4, "040004")])
def test_commands_without_data(command: int, frame: str) -> None:
    assert improv.pack_ble(command, b"") == bytes.fromhex(frame)


def test_a_serial_packet_byte_by_byte() -> None:
    packet = improv.pack_serial(improv.COMMAND_PACKET, improv.pack_rpc(improv.REQUEST_STATE, b""))
    # IMPROV, version 1, type 3, length 2, command 2 without data, sum, new line.
    assert packet == b"IMPROV" + bytes([1, 3, 2, 2, 0, (sum(b"IMPROV") + 1 + 3 + 2 + 2) % 256, 10])
    assert improv.pack_serial(improv.STATE_PACKET, bytes([2]))[7:10] == bytes([1, 1, 2])


def test_the_advertisement_holds_flags_service_and_service_data_in_31_bytes() -> None:
    packet = improv.advertisement(improv.AUTHORIZED, improv.CAN_IDENTIFY | improv.CAN_TELL_INFO | improv.CAN_SCAN)
    assert len(packet) == 31
    parts, at = [], 0
    while at < len(packet):
        parts.append((packet[at + 1], packet[at + 2 : at + 1 + packet[at]]))
        at += 1 + packet[at]
    assert parts[0] == (0x01, b"\x06")
    assert parts[1] == (0x07, UUID(UUIDS["SERVICE_UUID"]).bytes[::-1])
    assert parts[2] == (0x16, b"\x77\x46" + bytes([2, 7, 0, 0, 0, 0]))


@pytest.mark.parametrize("frame", [b"", b"\x01", b"\x01\x00", b"\x01\x00\x02", b"\x01\x02\x01\x04"])
def test_a_broken_ble_frame_is_refused(frame: bytes, worker: Worker) -> None:
    with pytest.raises(improv.BadFrame):
        improv.unpack_ble(frame)
    assert worker.call("improv", "unpack_ble", frame) == {"error": "BadFrame"}


@given(command=st.integers(0, 255), data=st.binary(max_size=255), cuts=st.lists(st.integers(1, 20)))
def test_a_command_is_put_together_from_any_writes(command: int, data: bytes, cuts: list[int]) -> None:
    frame, parts = improv.pack_ble(command, data), improv.CommandParts()
    whole, at = None, 0
    for cut in [*cuts, len(frame)]:
        assert whole is None
        whole = parts.feed(frame[at : at + cut])
        at += cut
        if at >= len(frame):
            break
    assert whole == frame
    assert improv.unpack_ble(whole) == (command, data)


@given(
    packets=st.lists(st.tuples(st.integers(0, 255), short), max_size=4),
    noise=st.lists(st.sampled_from([b"", b"IMP", b"I", b"log line\r\n", b"IMPROV\x02", b"\x00\xff"]), min_size=5),
    cut=st.integers(1, 30),
)
def test_packets_are_found_between_log_lines_however_they_arrive(
    packets: list[tuple[int, bytes]], noise: list[bytes], cut: int
) -> None:
    line = noise[4]
    for (kind, data), before in zip(packets, noise, strict=False):
        line += before + improv.pack_serial(kind, data)
    finder, found = improv.SerialPackets(), []
    for at in range(0, len(line), cut):
        found += finder.feed(line[at : at + cut])
    assert found == packets


def test_a_packet_with_a_wrong_checksum_is_told_and_does_not_hide_the_next() -> None:
    good = improv.pack_serial(3, b"\x02\x00")
    broken = good[:-2] + bytes([good[-2] ^ 1, 10])
    long = good[:8] + b"\x05" + good[9:]
    assert improv.SerialPackets().feed(broken + good) == [(-1, b"\x03"), (3, b"\x02\x00")]
    assert improv.SerialPackets().feed(long + good)[-1] == (3, b"\x02\x00")


@given(data=st.binary(max_size=300), kind=st.integers(0, 255), strings=st.lists(short, max_size=8))
def test_micropython_and_cpython_agree(worker: Worker, data: bytes, kind: int, strings: list[bytes]) -> None:
    for function, arguments in (
        ("unpack_ble", (data,)),
        ("unpack_ble", (data[:20] + bytes([sum(data[:20]) & 255]),)),
        ("unpack_strings", (data,)),
        ("pack_strings", (strings,)),
        ("pack_ble", (kind, data)),
        ("pack_serial", (kind, data)),
        ("advertisement", (kind, kind)),
        ("pack_networks", ([[name, -kind, "WPA2"] for name in strings],)),
    ):
        assert worker.call("improv", function, *arguments) == here(getattr(improv, function), *arguments)
