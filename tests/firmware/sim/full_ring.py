"""Fills a ring of 1 MiB beyond its end, recovers it, and reads it in lists; tells the memory that it took."""

import gc
import json
import sys

from flash import SECTOR_SIZE, Flash
from flash_ring import SLOTS, FlashRing

SECTORS = 256

flash = Flash(SECTORS * SECTOR_SIZE, sys.argv[1])
ring = FlashRing(flash)
stored = SECTORS * SLOTS + 10
for seq in range(stored):
    ring.append(0x9F3A61C2, seq, b"r" * 30)
ring = None
gc.collect()
before = gc.mem_alloc()
ring = FlashRing(flash)
gc.collect()
held = gc.mem_alloc() - before
position, listed, in_order, last = 0, 0, True, -1
while True:
    records, position = ring.pending_from(position, 100)
    if not records:
        break
    listed += len(records)
    in_order = in_order and records[0][1] > last
    last = records[-1][1]
print(
    json.dumps(
        {
            "stored": stored,
            "listed": listed,
            "pending": len(ring),
            "overwritten": ring.overwritten,
            "in_order": in_order,
            "last": last,
            "held": held,
        }
    )
)
