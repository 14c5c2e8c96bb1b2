"""The MQTT 3.1.1 packets of the hot path, many to a write: PUBLISH in, PUBACK and PUBLISH out.

Source: OASIS MQTT 3.1.1, sections 3.3 (PUBLISH) and 3.4 (PUBACK).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_PUBACK = b"\x40\x02"
_PUBLISH_QOS_0, _PUBLISH_QOS_1 = 0x30, 0x32


class Publish(NamedTuple):
    """A PUBLISH as it came. `packet_id` is None at QoS 0; `again` is the DUP flag."""

    topic: str
    payload: bytes
    packet_id: int | None
    again: bool
    retained: bool


def parse_publish(first_byte: int, body: bytes) -> Publish:
    """The PUBLISH in a packet's body (what follows the fixed header).

    Raises:
        IndexError: cut short.
    """
    topic_ends = 2 + (body[0] << 8 | body[1])
    # A broker passes only UTF-8 on; should one not, the topic stays readable and becomes a dead letter.
    topic = body[2:topic_ends].decode("utf-8", "backslashreplace")
    again, retained = first_byte & 0x08 != 0, first_byte & 0x01 != 0
    if first_byte & 0x06 == 0:
        return Publish(topic, body[topic_ends:], None, again, retained)
    packet_id = body[topic_ends] << 8 | body[topic_ends + 1]
    return Publish(topic, body[topic_ends + 2 :], packet_id, again, retained)


def encode_pubacks(packet_ids: Iterable[int]) -> bytes:
    """One PUBACK after the other, for a single write."""
    return b"".join([_PUBACK + packet_id.to_bytes(2, "big") for packet_id in packet_ids])


def encode_publish(topic: str, payload: bytes, packet_id: int | None = None) -> bytes:
    """A PUBLISH, not retained: at QoS 1 with a packet id, else at QoS 0."""
    name = topic.encode()
    mark = b"" if packet_id is None else packet_id.to_bytes(2, "big")
    left = 2 + len(name) + len(mark) + len(payload)
    header = bytearray((_PUBLISH_QOS_0 if packet_id is None else _PUBLISH_QOS_1,))
    while left > 0x7F:
        header.append(left & 0x7F | 0x80)
        left >>= 7
    header.append(left)
    return b"".join((header, len(name).to_bytes(2, "big"), name, mark, payload))
