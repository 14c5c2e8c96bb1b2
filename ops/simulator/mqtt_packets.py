"""MQTT 3.1.1 packets, as far as a socket needs them: written from templates, read without copying twice.

Source: OASIS MQTT Version 3.1.1, chapters 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP = 2, 3, 4, 9, 11, 13
PINGREQ_PACKET = b"\xc0\x00"
DISCONNECT_PACKET = b"\xe0\x00"
MAX_PACKET_ID = 65_535
SUBSCRIPTION_FAILED = 0x80

CONNECT_REFUSALS = {
    1: "protocol version not accepted",
    2: "client id not accepted",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorised",
}


class MalformedPacket(ValueError):
    """Bytes that are no MQTT packet: the connection cannot go on."""


class Will(NamedTuple):
    """What the broker publishes when the connection breaks."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


class Packet(NamedTuple):
    """A packet as it came: its type, the four flag bits and what follows the length."""

    kind: int
    flags: int
    body: bytes


class Message(NamedTuple):
    """A PUBLISH that came in."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int | None


# --- writing --------------------------------------------------------------------------------------------


def encode_length(length: int) -> bytes:
    """The remaining length: seven bits a byte, low ones first. Source: MQTT 3.1.1, 2.2.3."""
    if length < 128:
        return bytes((length,))
    encoded = bytearray()
    while length > 127:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def encode_text(text: str | bytes) -> bytes:
    """A string (or binary data) with its two bytes of length."""
    content = text.encode() if isinstance(text, str) else text
    return struct.pack("!H", len(content)) + content


def connect_packet(
    client_id: str,
    *,
    username: str | None = None,
    password: str | None = None,
    keep_alive_s: int = 60,
    clean_session: bool = True,
    will: Will | None = None,
) -> bytes:
    """CONNECT. Source: MQTT 3.1.1, 3.1."""
    flags, content = clean_session << 1, encode_text(client_id)
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        content += encode_text(will.topic) + encode_text(will.payload)
    if username is not None:
        flags |= 0x80
        content += encode_text(username)
    if password is not None:
        flags |= 0x40
        content += encode_text(password)
    body = b"\x00\x04MQTT\x04" + struct.pack("!BH", flags, keep_alive_s) + content
    return b"\x10" + encode_length(len(body)) + body


def subscribe_packet(packet_id: int, filters: Sequence[tuple[str, int]]) -> bytes:
    """SUBSCRIBE to (filter, QoS) pairs."""
    body = struct.pack("!H", packet_id) + b"".join(encode_text(text) + bytes((qos,)) for text, qos in filters)
    return b"\x82" + encode_length(len(body)) + body


def publish_packet(topic: bytes, payload: bytes, packet_id: int | None = None, *, retain: bool = False) -> bytes:
    """PUBLISH: QoS 1 with a packet id, else QoS 0; `topic` comes with its length (`encode_text`)."""
    if packet_id is None:
        return b"%c%b%b%b" % (0x30 | retain, encode_length(len(topic) + len(payload)), topic, payload)
    length = encode_length(len(topic) + len(payload) + 2)
    return b"%c%b%b%c%c%b" % (0x32 | retain, length, topic, packet_id >> 8, packet_id & 0xFF, payload)


def puback_packet(packet_id: int) -> bytes:
    return struct.pack("!HH", 0x4002, packet_id)


# --- reading --------------------------------------------------------------------------------------------


class PacketReader:
    """Cuts a byte stream into packets."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that are complete now; an incomplete one waits for its remainder.

        Raises:
            MalformedPacket: a remaining length of more than four bytes.
        """
        data = self._rest + data if self._rest else data
        start = 0
        try:
            while (bounds := _bounds(data, start)) is not None:
                body_start, end = bounds
                yield Packet(data[start] >> 4, data[start] & 0x0F, data[body_start:end])
                start = end
        finally:
            self._rest = data[start:]

    def feed_pubacks(self, data: bytes) -> tuple[int, ...] | None:
        """The packet ids if `data` is PUBACKs and nothing else (the usual case under load), else None."""
        count = len(data) >> 2
        if self._rest or len(data) & 3 or data[::4] != b"\x40" * count or data[1::4] != b"\x02" * count:
            return None
        return struct.unpack(f"!{count * 2}H", data)[1::2]


def _bounds(data: bytes, start: int) -> tuple[int, int] | None:
    length, shift, at = 0, 0, start + 1
    while at < len(data):
        length |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return (at, at + length) if at + length <= len(data) else None
        shift += 7
        if shift > 21:
            raise MalformedPacket("remaining length has more than four bytes")
    return None


def decode_publish(packet: Packet) -> Message:
    """The message of a PUBLISH packet.

    Raises:
        MalformedPacket: too short for its topic and packet id.
    """
    body, qos = packet.body, packet.flags >> 1 & 3
    topic_end = 2 + int.from_bytes(body[:2], "big")
    start = topic_end + (2 if qos else 0)
    if start > len(body):
        raise MalformedPacket("a PUBLISH ends within its topic")
    packet_id = int.from_bytes(body[topic_end:start], "big") if qos else None
    return Message(body[2:topic_end].decode(), body[start:], qos, bool(packet.flags & 1), packet_id)
