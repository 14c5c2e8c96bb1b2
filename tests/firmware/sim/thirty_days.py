"""30 days of metering and storing in virtual time, a reading every 10 s that is receipted soon; tells the wear."""

import gc
import json

import hal
from energy import SLOT_SIZE, EnergyCounter
from flash import Flash
from flash_ring import FlashRing
from records import Record

DAYS = 30
STEP_MS = 10_000
POWER_MW = 1_234_567

hal.board.use_virtual_clock()
# A ring of 8 sectors wears 32 times as fast as one of 1 MiB.
ring_flash = Flash(8 * 4096)
energy_flash = Flash(2 * 4096)
ring = FlashRing(ring_flash)
counter = EnergyCounter(Record(energy_flash, 0, SLOT_SIZE), hal.ticks_ms())
record = bytes(30)
wraps, last, heap_after_a_day = 0, hal.ticks_ms(), 0
steps = DAYS * 86_400_000 // STEP_MS
for seq in range(steps):
    hal.board.advance(STEP_MS)
    now = hal.ticks_ms()
    wraps += now < last
    last = now
    counter.count(POWER_MW * STEP_MS)
    counter.save_in_time(now)
    ring.append(0x9F3A61C2, seq, record)
    if seq % 10 == 9:
        ring.settle(0x9F3A61C2, seq - 9, seq)
    if seq == 8640:
        gc.collect()
        heap_after_a_day = gc.mem_alloc()
counter.save(hal.ticks_ms())
ring.settle(0x9F3A61C2, 0, steps)
gc.collect()
print(
    json.dumps(
        {
            "days": DAYS,
            "wraps": wraps,
            "energy_erases": energy_flash.erases,
            "ring_erases": ring_flash.erases,
            "energy_mwh": counter.energy_mwh,
            "true_mwh": steps * POWER_MW * STEP_MS // 3_600_000,
            "heap_growth": gc.mem_alloc() - heap_after_a_day,
            "pending": len(ring),
            "overwritten": ring.overwritten,
        }
    )
)
