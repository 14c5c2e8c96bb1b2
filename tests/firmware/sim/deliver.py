"""A socket that does nothing but measure and deliver; tells each reading once it is stored, and how it goes.

Its argument names a JSON file with `server`, `patience`, `flash_dir`, `interval_ms`, `backlog` (readings stored before
it connects). A line `stop` on its input ends the measuring; it ends once every reading has its receipt.
"""

import asyncio
import gc
import json
import sys

import hal

with open(sys.argv[1]) as file:
    plan = json.load(file)
hal.board.flash_dir = plan["flash_dir"]

import uplink as uplinks  # noqa: E402
from records import Record  # noqa: E402


def tell(members: dict) -> None:
    """Print a line for the test."""
    print(json.dumps(members))


def measure(uplink: uplinks.Uplink) -> None:
    """Store one reading and tell so."""
    before = uplink.clock.uptime_ms()
    seq = uplink.delivery.add({"power_mw": 1000, "energy_mwh": 5, "relay": True})
    tell({"seq": seq, "boot": uplink.boot, "up": [before, uplink.clock.uptime_ms()]})


async def measure_on(uplink: uplinks.Uplink, stopped: asyncio.Event) -> None:
    """Measure at the plan's pace until it is stopped."""
    while not stopped.is_set():
        measure(uplink)
        await asyncio.sleep_ms(plan["interval_ms"])


async def listen(stopped: asyncio.Event) -> None:
    """Take what the test says."""
    lines = asyncio.StreamReader(sys.stdin)
    while (await lines.readline()).strip() != b"stop":
        pass
    stopped.set()


async def main() -> None:
    """Deliver until the last receipt."""
    ca = plan["server"].get("ca")
    plan["server"]["ca"] = ca.encode() if ca else None
    uplink = uplinks.Uplink(
        plan["server"],
        hal.Flash("ring"),
        Record(hal.Flash("bases"), 0, uplinks.BASES_SLOT_SIZE),
        lambda: {"firmware": "1.0.0", "config": 0},
        lambda _: None,
        lambda: True,
        patience=plan["patience"],
    )
    for _ in range(plan["backlog"]):
        measure(uplink)
    stopped = asyncio.Event()
    uplink.connection.report({"event": "started"})
    tasks = [asyncio.create_task(part) for part in (uplink.run(), measure_on(uplink, stopped), listen(stopped))]
    while not (stopped.is_set() and tasks[1].done() and not len(uplink.ring)):
        await asyncio.sleep_ms(100)
        told = [uplink.connection.connections, uplink.delivery.receipts, uplink.connection.last_error]
        tell({"pending": len(uplink.ring), "told": told, "now": uplink.clock.now_ms(), "sent": uplink.delivery.sent})
    gc.collect()
    tell({"ended": True, "heap": gc.mem_alloc(), "bad": uplink.delivery.bad_receipts})


asyncio.run(main())
