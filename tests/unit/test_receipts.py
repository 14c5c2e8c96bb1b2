"""Receipts: exact, collected, and given up rather than hoarded."""

from __future__ import annotations

from bridges.mqtt_packets import parse_publish
from bridges.receipts import ReceiptBook
from domain.wire import decode_receipt


class Broker:
    """Takes packets while it is there."""

    def __init__(self) -> None:
        self.there = True
        self.writes: list[list[bytes]] = []

    def send(self, packets: list[bytes]) -> bool:
        if self.there:
            self.writes.append(packets)
        return self.there

    def told(self) -> dict[tuple[str, str], set[int]]:
        """By (device id, boot), the seqs that were receipted."""
        told: dict[tuple[str, str], set[int]] = {}
        for packet in [packet for write in self.writes for packet in write]:
            header = next(at for at in range(1, 5) if packet[at] < 0x80) + 1
            publish = parse_publish(packet[0], packet[header:])
            receipt = decode_receipt(publish.payload)
            assert publish.packet_id is None
            seqs = told.setdefault((publish.topic.split("/")[1], receipt.boot), set())
            for first, last in receipt.ranges:
                assert seqs.isdisjoint(range(first, last + 1))
                seqs |= set(range(first, last + 1))
        return told


async def test_one_receipt_per_device_and_boot_names_all_its_readings() -> None:
    book, broker = ReceiptBook(), Broker()
    book.note([("d1", "0000000a", 1), ("d2", "0000000b", 5), ("d1", "0000000a", 3), ("d1", "0000000c", 1)])
    book.note([("d1", "0000000a", 2), ("d1", "0000000a", 2)])
    await book.send(broker)
    assert broker.told() == {("d1", "0000000a"): {1, 2, 3}, ("d2", "0000000b"): {5}, ("d1", "0000000c"): {1}}
    assert sum(map(len, broker.writes)) == book.sent == 3


async def test_what_was_sent_is_not_sent_again() -> None:
    book, broker = ReceiptBook(), Broker()
    book.note([("d1", "0000000a", 1)])
    await book.send(broker)
    await book.send(broker)
    assert len(broker.writes) == 1


async def test_receipts_wait_for_a_broker_that_is_away() -> None:
    book, broker = ReceiptBook(), Broker()
    broker.there = False
    book.note([("d1", "0000000a", 1)])
    await book.send(broker)
    broker.there = True
    book.note([("d1", "0000000a", 2)])
    await book.send(broker)
    assert broker.told() == {("d1", "0000000a"): {1, 2}}


async def test_a_receipt_fits_a_small_board() -> None:
    book, broker = ReceiptBook(), Broker()
    book.note([("d1", "0000000a", 2 * number) for number in range(1000)])
    await book.send(broker)
    assert broker.told() == {("d1", "0000000a"): {2 * number for number in range(1000)}}
    assert max(len(packet) for write in broker.writes for packet in write) < 4096


async def test_beyond_the_bound_the_oldest_devices_receipts_are_given_up() -> None:
    book, broker = ReceiptBook(max_seqs=10), Broker()
    for device in range(5):
        book.note([(f"d{device}", "0000000a", seq) for seq in range(4)])
    await book.send(broker)
    assert sorted(device for device, _ in broker.told()) == ["d3", "d4"]
    assert book.given_up == 12
