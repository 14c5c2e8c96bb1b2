"""Virtual days of the real uplink over a link of the test's own, whose lines and receipts get lost; tells how it went.

Arguments: days, ms between two readings, folder of its flash. For the first hours nobody knows the time; then an NTP
server does. Each reading says in `energy_mwh` when it was measured, so that its date can be checked.
"""

import asyncio
import gc
import json
import sys

import hal

DAYS, INTERVAL_MS = int(sys.argv[1]), int(sys.argv[2])
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
BEGAN_MS = 1_764_000_000_000
hal.board.flash_dir, hal.board.flash_size = sys.argv[3], 16 * 4096
hal.board.use_virtual_clock()

import time_sync  # noqa: E402
import uplink as uplinks  # noqa: E402
import virtual_time  # noqa: E402
from mqtt import LinkLost  # noqa: E402
from records import Record  # noqa: E402

COUNT = DAYS * DAY_MS // INTERVAL_MS
seen = bytearray((COUNT + 7) // 8)
told = {"connections": 0, "doubled": 0, "misdated": 0, "wraps": 0, "heap": [], "closed": []}


async def ask_ntp(server: "tuple[str, int]") -> "int | None":
    """Know the time from the third hour on."""
    now_ms = hal.board.elapsed_ms()
    return None if now_ms < 2 * HOUR_MS else BEGAN_MS + now_ms


time_sync._ask_ntp = ask_ntp


class Link:
    """Stands for 7 hours; each 23rd receipt is lost."""

    sent = 0

    def __init__(self, will: "object", on_message: "object") -> None:
        self._on_message, self._closed, self._why = on_message, asyncio.Event(), "lost"

    async def open(self) -> None:
        """Stand, except in the fifth hour of each day."""
        if hal.board.elapsed_ms() // HOUR_MS % 24 == 4:
            raise LinkLost("refused")
        told["connections"] += 1

    async def subscribe(self, wanted: "object") -> None:
        """Subscribe."""

    async def publish(self, topic: str, payload: "bytes | memoryview", retain: bool = False) -> None:
        """Take readings, and give their receipt."""
        await asyncio.sleep_ms(20)
        if not topic.endswith("data"):
            return
        found = json.loads(bytes(payload))
        found = found if isinstance(found, list) else [found]
        for one in found:
            take(one)
        Link.sent += 1
        if Link.sent % 23:
            receipt = {"boot": found[0]["boot"], "ranges": [[found[0]["seq"], found[-1]["seq"]]]}
            self._on_message("devices/d/receipts", memoryview(json.dumps(receipt).encode()))

    async def ended(self) -> str:
        """Stand for 7 hours, unless it is closed."""
        try:
            await asyncio.wait_for(self._closed.wait(), 7 * 3600)
            told["closed"].append(self._why)
        except asyncio.TimeoutError:  # noqa: UP041
            pass
        return self._why

    def close(self, why: str = "closed") -> None:
        """End."""
        if not self._closed.is_set():
            self._why = why
            self._closed.set()


def take(reading: dict) -> None:
    """Note a reading as the engine would."""
    seq, measured_ms = reading["seq"], reading["energy_mwh"]
    at, bit = seq // 8, 1 << seq % 8
    told["doubled"] += bool(seen[at] & bit)
    seen[at] |= bit
    if "up" in reading:
        told["misdated"] += reading["up"] != measured_ms
    else:
        told["misdated"] += reading["at"] != BEGAN_MS + measured_ms


async def measure(uplink: uplinks.Uplink) -> None:
    """Store a reading at each interval; look at heap and ticks once a day."""
    last = hal.ticks_ms()
    for seq in range(COUNT):
        uplink.delivery.add({"power_mw": 1000, "energy_mwh": hal.board.elapsed_ms(), "relay": True})
        now = hal.ticks_ms()
        told["wraps"] += now < last
        last = now
        if (seq + 1) * INTERVAL_MS % DAY_MS < INTERVAL_MS:
            gc.collect()
            told["heap"].append(gc.mem_alloc())
        await asyncio.sleep_ms(INTERVAL_MS)


async def main() -> None:
    """Deliver for so many days, and until all is receipted."""
    server = {"host": "", "port": 0, "device_id": "d", "token": "", "ntp": ["a", "b"]}
    bases = Record(hal.Flash("bases"), 0, uplinks.BASES_SLOT_SIZE)
    uplink = uplinks.Uplink(server, hal.Flash("ring"), bases, dict, lambda _: None, lambda: True)
    uplink.connection._new_link = Link
    uplink.delivery._sync_wait_ms = 3 * HOUR_MS
    running = asyncio.create_task(uplink.run())
    await measure(uplink)
    await asyncio.sleep(2 * 3600)
    told["arrived"], told["measured"] = sum(bin(byte).count("1") for byte in seen), COUNT
    told["waiting"], told["now_ms"], told["day_ms"] = len(uplink.ring), uplink.clock.now_ms(), hal.board.elapsed_ms()
    told["overwritten"], told["erases"] = uplink.ring.overwritten, max(hal.board.flashes["ring"].erases)
    print(json.dumps(told))
    running.cancel()


virtual_time.run(main())
