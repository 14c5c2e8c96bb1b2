"""The firmware's pure parts give the same answers in MicroPython as in CPython, for good input and for broken."""

from __future__ import annotations

import json
from typing import Any

import mqtt_packets
import pure_parts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.firmware.micropython import Worker, here
from tests.firmware.test_meter_chips import GOOD, bl_frame

TOPICS = st.sampled_from(["devices/d32131/commands", "devices/d32131/receipts", "ä/ü", ""])
CHANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=2)


def a_publish(topic: str, payload: bytes, packet_id: int, retain: bool) -> bytes:
    return mqtt_packets.publish_head(topic, len(payload), packet_id, retain) + payload


def broken(packet: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    """Return a packet with some of its bytes changed, and cut short."""
    made = bytearray(packet)
    for at, byte in changes:
        made[at % len(made)] = byte
    return bytes(made[: max(2, len(made) - cut)])


PUBLISHES = st.builds(a_publish, TOPICS, st.binary(max_size=200), st.integers(0, 65535), st.booleans())
PACKETS = st.builds(broken, PUBLISHES, CHANGES, st.sampled_from([0, 0, 0, 1, 9])) | st.binary(min_size=2, max_size=40)

OPTIONAL = {
    "voltage_mv": st.integers(-5, 400_005),
    "current_ma": st.integers(-5, 20_005),
    "energy_mwh": st.integers(-5, 10**13 + 5),
    "relay": st.booleans(),
    "temperature_mc": st.integers(-60_005, 200_005),
    "rssi_dbm": st.integers(-135, 5),
}
MEMBERS = st.fixed_dictionaries({"power_mw": st.integers(-5, 2**31 - 1)}, optional=OPTIONAL)
BOOTS, INSTANTS = st.integers(0, 2**32 - 1), st.integers(1_735_689_600_000, 4_102_444_800_000)
READINGS = st.tuples(BOOTS, st.integers(0, 2**48), MEMBERS, st.integers(0, 2**42), st.booleans(), st.none() | INSTANTS)

RANGES = st.lists(st.lists(st.integers(-1, 2**50), max_size=3) | st.none(), max_size=4)
RECEIPTS = st.fixed_dictionaries(
    {}, optional={"boot": st.sampled_from(["9f3a61c2", "9F3A61C2", "9f3a61c", 7]), "ranges": RANGES, "more": st.none()}
)

BL_GOOD = st.builds(bl_frame, *[st.integers(0, 2**22)] * 4, st.integers(0, 65535))
STREAMS = st.lists(GOOD | BL_GOOD | st.binary(max_size=40), max_size=6).map(b"".join)

FEW_BOOTS = st.integers(1, 12)
STARTS = st.lists(st.tuples(FEW_BOOTS, st.none() | INSTANTS), max_size=20)

CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "interval_ms": st.sampled_from([None, 0, 999, 1_000, 5_000, 3_600_000, 3_600_001, True, 5.0, "5000"]),
        "max_power_mw": st.integers(999, 3_680_001),
        "max_current_ma": st.sampled_from([9, 10, 16_000, 16_001]),
        "min_voltage_mv": st.integers(-1, 400_001),
        "max_voltage_mv": st.integers(-1, 400_001),
        "power_on": st.sampled_from([None, "off", "on", "last", "outage-aware", "maybe", 1]),
        "time_zone": st.sampled_from([None, "Europe/Berlin", "x" * 64, "x" * 65, 7]),
        "colour": st.none(),
    },
)
TRIES = st.lists(st.tuples(CONFIGS | st.none(), st.integers(1, 4)), max_size=6)

CALLS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "read_packet": st.tuples(PACKETS),
    "encode": READINGS,
    "read_receipt": st.tuples(RECEIPTS.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)),
    "found": st.tuples(st.sampled_from(["cse7766", "bl0942"]), STREAMS, st.integers(1, 50)),
    "date": st.tuples(STARTS, st.lists(FEW_BOOTS, max_size=12)),
    "configure": st.tuples(TRIES),
}
SENT: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "connect": st.tuples(
        st.tuples(*[st.text(max_size=20)] * 3),
        st.integers(0, 65535),
        st.none() | st.tuples(st.text(max_size=20), st.binary(max_size=200)),
    ),
    "publish_head": st.tuples(TOPICS, st.integers(0, 2**28 + 5), st.integers(0, 65535), st.booleans()),
    "remaining_length": st.tuples(st.integers(0, 2**28 + 5)),
    "subscribe": st.tuples(st.integers(0, 65535), st.lists(st.tuples(TOPICS, st.integers(0, 2)), max_size=3)),
}


@pytest.mark.parametrize("function", CALLS)
def test_micropython_and_cpython_agree(worker: Worker, function: str) -> None:
    seen: set[str] = set()

    @settings(max_examples=100, deadline=None)
    @given(CALLS[function])
    def compare(arguments: tuple[Any, ...]) -> None:
        told = worker.call("pure_parts", function, *arguments)
        assert told == json.loads(json.dumps(here(getattr(pure_parts, function), *arguments)))
        seen.update(told)

    compare()
    assert "answer" in seen


@pytest.mark.parametrize("function", SENT)
def test_micropython_writes_the_same_packets(worker: Worker, function: str) -> None:
    @settings(max_examples=50, deadline=None)
    @given(SENT[function])
    def compare(arguments: tuple[Any, ...]) -> None:
        told = worker.call("mqtt_packets", function, *arguments)
        assert told == here(getattr(mqtt_packets, function), *arguments)

    compare()
