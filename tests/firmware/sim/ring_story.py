"""Plays operations on a flash ring and tells what it holds, for the comparison of CPython and MicroPython."""

from flash import SECTOR_SIZE, Flash
from flash_ring import FlashRing


def play(operations: "list[list[object]]") -> "list[object]":
    """Return what the ring answered to each operation, and what it holds in the end.

    `["append", times, hex]` stores the record so often, `["settle", first, more]` settles a range, `["restart", …]`
    recovers the ring from its flash.
    """
    flash = Flash(2 * SECTOR_SIZE)
    ring = FlashRing(flash)
    told, seq = [], 0
    for name, first, second in operations:
        if name == "append":
            for _ in range(first):
                ring.append(0x9F3A61C2, seq, bytes.fromhex(second))
                seq += 1
        elif name == "settle":
            told.append(ring.settle(0x9F3A61C2, first, first + second))
        else:
            ring = FlashRing(flash)
        told.append([len(ring), ring.overwritten, ring.corrupt, ring.end()])
    return [told, [[boot, seq, record.hex()] for boot, seq, record in ring.pending(40)]]
