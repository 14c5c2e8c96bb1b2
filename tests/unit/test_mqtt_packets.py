"""The lean MQTT client's packets: every one survives the round trip, however the network cuts the stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator.mqtt_packets import (
    PUBACK,
    PUBLISH,
    MalformedPacket,
    Message,
    PacketReader,
    Will,
    connect_packet,
    decode_publish,
    encode_length,
    encode_text,
    puback_packet,
    publish_packet,
    subscribe_packet,
)

_messages = st.builds(
    Message,
    topic=st.from_regex(r"[a-z]{1,9}(/[a-z0-9_-]{1,20}){0,4}", fullmatch=True),
    payload=st.binary(max_size=400),
    qos=st.just(1),
    retain=st.booleans(),
    packet_id=st.integers(1, 65_535),
)


@pytest.mark.parametrize(
    ("length", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001"), (268_435_455, "ffffff7f")],
)
def test_lengths_are_written_as_the_standard_lists_them(length: int, encoded: str) -> None:
    assert encode_length(length).hex() == encoded  # MQTT 3.1.1, table 2.4


@given(st.lists(_messages, max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_messages_survive_a_stream_cut_anywhere(messages: list[Message], cuts: list[int]) -> None:
    stream = b"".join(publish_packet(encode_text(m.topic), m.payload, m.packet_id, retain=m.retain) for m in messages)
    reader, seen, at = PacketReader(), [], 0
    while at < len(stream):
        size = cuts[at % len(cuts)]
        seen.extend(reader.feed(stream[at : at + size]))
        at += size
    assert all(packet.kind == PUBLISH for packet in seen)
    assert [decode_publish(packet) for packet in seen] == messages


def test_a_message_of_qos_0_has_no_packet_id() -> None:
    (packet,) = PacketReader().feed(publish_packet(encode_text("a/b"), b"hello"))
    assert decode_publish(packet) == Message("a/b", b"hello", 0, False, None)


@given(st.lists(st.integers(1, 65_535), min_size=1, max_size=300))
def test_a_run_of_pubacks_is_read_at_once_and_equals_the_slow_way(packet_ids: list[int]) -> None:
    stream = b"".join(map(puback_packet, packet_ids))
    assert PacketReader().feed_pubacks(stream) == tuple(packet_ids)
    slowly = PacketReader().feed(stream)
    assert [int.from_bytes(p.body, "big") for p in slowly if p.kind == PUBACK] == packet_ids


def test_pubacks_with_anything_between_are_left_to_the_slow_way() -> None:
    mixed = puback_packet(1) + b"\xd0\x00" + puback_packet(2)
    assert PacketReader().feed_pubacks(mixed) is None
    assert PacketReader().feed_pubacks(puback_packet(1)[:3]) is None
    begun = PacketReader()
    assert list(begun.feed(puback_packet(9)[:2])) == []
    assert begun.feed_pubacks(puback_packet(1)) is None


def test_a_length_of_five_bytes_is_refused() -> None:
    with pytest.raises(MalformedPacket):
        list(PacketReader().feed(b"\x30\xff\xff\xff\xff\x01"))


def test_a_publish_that_ends_within_its_topic_is_refused() -> None:
    (packet,) = PacketReader().feed(b"\x32\x04\x00\x09ab")
    with pytest.raises(MalformedPacket):
        decode_publish(packet)


def test_connect_carries_the_will_and_the_credentials() -> None:
    packet = connect_packet("plug", username="plug", password="pw", keep_alive_s=30, will=Will("w/t", b"gone"))
    expected = "00044d515454 04 ee 001e 0004706c7567 0003772f74 0004676f6e65 0004706c7567 00027077"
    assert packet[2:].hex() == expected.replace(" ", "")
    assert packet[:2] == bytes((0x10, len(packet) - 2))


def test_subscribe_names_each_filter_with_its_qos() -> None:
    assert subscribe_packet(7, [("a", 1), ("b/+", 0)]).hex() == "820c" + "0007" + "00016101" + "0003622f2b00"
