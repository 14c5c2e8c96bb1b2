"""A boot that hears the time, but never its engine, in virtual time; and a second one, which sends what the first kept.

Argument: the folder of its flash. Prints what was noticed when, and what the second one sent: it has a connection long
before it hears the time, and more to tell than it can hold until then.
"""

import asyncio
import json
import sys

import hal

hal.board.flash_dir = sys.argv[1]
hal.board.use_virtual_clock()

import time_sync  # noqa: E402
import uplink as uplinks  # noqa: E402
import virtual_time  # noqa: E402
from mqtt import LinkLost  # noqa: E402
from records import Record  # noqa: E402

BEGAN_MS = 1_764_000_000_000
server = {"host": "", "port": 0, "device_id": "d", "token": "", "ntp": ["a", "b"]}
sent = []
known_from_ms = [300_000]


async def ask_ntp(_: "tuple[str, int]") -> "int | None":
    """Know the time from then on."""
    now_ms = hal.board.elapsed_ms()
    return BEGAN_MS + now_ms if now_ms >= known_from_ms[0] else None


time_sync._ask_ntp = ask_ntp


class Link:
    """Is refused, or takes everything."""

    is_there = False

    def __init__(self, will: "object", on_message: "object") -> None: ...

    async def open(self) -> None:
        """Stand if it is there."""
        if not Link.is_there:
            raise LinkLost("refused")

    async def subscribe(self, wanted: "object") -> None:
        """Subscribe."""

    async def publish(self, topic: str, payload: "bytes | memoryview", retain: bool = False) -> None:
        """Note it."""
        sent.append(json.loads(bytes(payload)))

    async def ended(self) -> str:
        """Stand."""
        await asyncio.sleep(3600)
        return ""

    def close(self, why: str = "closed") -> None:
        """Nothing is held."""


async def lived(boot: int, seconds: int) -> None:
    """Run a boot for so long."""
    bases = Record(hal.Flash("bases"), 0, uplinks.BASES_SLOT_SIZE)
    uplink = uplinks.Uplink(server, hal.Flash("ring"), bases, dict, lambda _: None, lambda: True, boot=boot)
    uplink.connection._new_link = Link
    running = asyncio.create_task(uplink.run())
    await asyncio.sleep(5)
    print(json.dumps({"noticed_at": BEGAN_MS + hal.board.elapsed_ms()}))
    if not Link.is_there:
        uplink.delivery.add({"power_mw": 1000})
    else:
        for count in range(20):
            event = {"event": "trip" if count == 1 else "warning", "count": count, "up": uplink.clock.uptime_ms()}
            uplink.connection.report(event)
        uplink.connection.report({"command": "c", "result": "done"})
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.sleep(1)


async def main() -> None:
    """Live twice."""
    await lived(1, 600)
    Link.is_there, known_from_ms[0] = True, hal.board.elapsed_ms() + 20_000
    await lived(2, 60)
    print(json.dumps({"sent": sent}))


virtual_time.run(main())
