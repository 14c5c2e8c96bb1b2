"""MQTT 3.1.1 packets as bytes: what a socket sends, and what it reads of what a broker sends.

No network in here, so that the same file runs on the board and on CPython.
Source: OASIS MQTT 3.1.1, chapters 2 and 3.
"""

CONNACK = 2
PUBLISH = 3
PUBACK = 4
SUBACK = 9
PINGRESP = 13

PINGREQ_PACKET = b"\xc0\x00"
DISCONNECT_PACKET = b"\xe0\x00"

# Replies whose length the standard fixes (SUBACK's depends on what was asked).
_FIXED_LENGTHS = {CONNACK: 2, PUBACK: 2, PINGRESP: 0}


class Malformed(Exception):
    """A packet that no broker may send; the connection must be closed."""


def _two(number: int) -> bytes:
    return bytes((number >> 8, number & 255))


def _text(value: "str | bytes") -> bytes:
    data = value.encode() if isinstance(value, str) else value
    if len(data) > 65535:
        raise ValueError("longer than MQTT can say")
    return _two(len(data)) + data


def remaining_length(number: int) -> bytes:
    """The one to four bytes that say how long the rest of a packet is."""
    if number > 268435455:
        raise ValueError("longer than MQTT can say")
    out = b""
    while True:
        digit = number & 127
        number >>= 7
        if not number:
            return out + bytes((digit,))
        out += bytes((digit | 128,))


def _packet(first_byte: int, body: bytes) -> bytes:
    return bytes((first_byte,)) + remaining_length(len(body)) + body


def connect(login: "tuple[str, str, str]", keep_alive_s: int, will: "tuple[str, bytes] | None" = None) -> bytes:
    """Return a CONNECT on a clean session; a will is sent at QoS 1 and retained.

    Args:
        login: client id, user, password.
        will: topic and payload.
    """
    flags, payload = 0x02 | 0x80 | 0x40, _text(login[0])
    if will is not None:
        flags |= 0x04 | 0x08 | 0x20
        payload += _text(will[0]) + _text(will[1])
    payload += _text(login[1]) + _text(login[2])
    return _packet(0x10, b"\x00\x04MQTT\x04" + bytes((flags,)) + _two(keep_alive_s) + payload)


def publish_head(topic: str, payload_bytes: int, packet_id: int, retain: bool = False) -> bytes:
    """All of a QoS 1 PUBLISH but its payload, which follows as it is, uncopied."""
    name = _text(topic)
    first_byte = 0x33 if retain else 0x32
    return bytes((first_byte,)) + remaining_length(len(name) + 2 + payload_bytes) + name + _two(packet_id)


def puback(packet_id: int) -> bytes:
    """Return a PUBACK."""
    return b"\x40\x02" + _two(packet_id)


def subscribe(packet_id: int, wanted: "list[tuple[str, int]]") -> bytes:
    """SUBSCRIBE to pairs of a filter and the QoS asked for."""
    body = _two(packet_id)
    for topic_filter, qos in wanted:
        body += _text(topic_filter) + bytes((qos,))
    return _packet(0x82, body)


class LengthReader:
    """Takes the bytes of a remaining length one by one."""

    def __init__(self) -> None:
        self.length = 0
        self._shift = 0

    def take(self, byte: int) -> bool:
        """Whether it was the last one: then `length` holds the number. Raises Malformed on a fifth byte."""
        self.length |= (byte & 127) << self._shift
        if not byte & 128:
            return True
        self._shift += 7
        if self._shift > 21:
            raise Malformed("length")
        return False


def check_head(first_byte: int, length: int) -> int:
    """Return the type of a broker's packet.

    Raises:
        Malformed: only a client may send it, or its flags or length are not the standard's.
    """
    kind = first_byte >> 4
    if kind == PUBLISH:
        if first_byte & 0x06 > 0x02 or length < 2:
            raise Malformed("publish")
        return kind
    if first_byte & 15 or kind not in (CONNACK, PUBACK, SUBACK, PINGRESP):
        raise Malformed("type")
    if _FIXED_LENGTHS.get(kind, length) != length or (kind == SUBACK and length < 3):
        raise Malformed("length")
    return kind


def publish_parts(first_byte: int, body: "memoryview | bytes", length: int) -> "tuple[str, int, int]":
    """Topic, packet id (0 at QoS 0) and where the payload starts in `body`. Raises Malformed."""
    topic_end = 2 + (body[0] << 8 | body[1])
    start = topic_end + (2 if first_byte & 0x06 else 0)
    if start > length:
        raise Malformed("publish")
    try:
        topic = str(bytes(body[2:topic_end]), "utf-8")
    except (UnicodeError, ValueError):
        raise Malformed("topic") from None
    if not first_byte & 0x06:
        return topic, 0, start
    packet_id = body[topic_end] << 8 | body[topic_end + 1]
    if not packet_id:
        raise Malformed("packet id")
    return topic, packet_id, start
