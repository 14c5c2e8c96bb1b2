"""Receipts: telling each device which of its readings are settled, a few of them in one message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from bridges.mqtt_packets import encode_publish
from domain.ranges import to_ranges
from domain.wire import encode_receipt, receipts_topic

_PER_WRITE = 250
# About 2 KiB of JSON: what a small board can hold.
_RANGES_PER_RECEIPT = 100


class Sender(Protocol):
    """Whoever can send packets to the broker now."""

    def send(self, packets: list[bytes]) -> bool:
        """Send all of them, or return False."""


class ReceiptBook:
    """The readings settled since the last receipts, per device and boot.

    A receipt that is lost costs a retransmission and nothing else, so the book keeps at most `max_seqs` and gives up
    the oldest devices' beyond that.
    """

    def __init__(self, *, max_seqs: int = 1_000_000) -> None:
        self._max_seqs = max_seqs
        self._seqs: dict[tuple[str, str], list[int]] = {}
        self._held = 0
        self.given_up = 0
        self.sent = 0

    def note(self, settled: Iterable[tuple[str, str, int]]) -> None:
        """Remember (device id, boot, seq) of readings that are in the log, as readings or as dead letters."""
        book = self._seqs
        for device_id, boot, seq in settled:
            seqs = book.get((device_id, boot))
            if seqs is None:
                book[device_id, boot] = [seq]
            else:
                seqs.append(seq)
            self._held += 1
        while self._held > self._max_seqs:
            oldest = next(iter(book))
            lost = len(book.pop(oldest))
            self._held -= lost
            self.given_up += lost

    async def send(self, sender: Sender) -> None:
        """Send a receipt per device and boot; keep those for which the broker is out of reach."""
        while self._seqs:
            entries = list(islice(self._seqs.items(), _PER_WRITE))
            packets = [packet for (device_id, boot), seqs in entries for packet in _receipts(device_id, boot, seqs)]
            if not sender.send(packets):
                return
            for key, seqs in entries:
                self._held -= len(seqs)
                del self._seqs[key]
            self.sent += len(packets)
            # A fleet's receipts take tens of ms to encode: let readings pass in between.
            await asyncio.sleep(0)


def _receipts(device_id: str, boot: str, seqs: list[int]) -> list[bytes]:
    topic, ranges = receipts_topic(device_id), to_ranges(seqs)
    return [
        encode_publish(topic, encode_receipt(boot, ranges[start : start + _RANGES_PER_RECEIPT]))
        for start in range(0, len(ranges), _RANGES_PER_RECEIPT)
    ]
