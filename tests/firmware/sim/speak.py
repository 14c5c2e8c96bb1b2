"""Lets the real uplink speak over a link of the test's own, and prints the will and everything that it publishes.

Its argument names a JSON file: `flash_dir`, `now_ms`, `boot`, `firmware`, `config`, `readings`, `reports`, and
`receipts` to hand to it in the end.
"""

import asyncio
import json
import sys

import hal

hal.board.use_virtual_clock()

import uplink as uplinks  # noqa: E402
import virtual_time  # noqa: E402
from records import Record  # noqa: E402

with open(sys.argv[1]) as file:
    plan = json.load(file)
hal.board.flash_dir = plan["flash_dir"]


class Link:
    """Takes everything at once."""

    def __init__(self, will: "tuple[str, bytes]", on_message: "object") -> None:
        self.on_message, self._over = on_message, asyncio.Event()
        tell("will", will[0], will[1], True)

    async def open(self) -> None:
        """Stand."""

    async def subscribe(self, wanted: "list[tuple[str, int]]") -> None:
        """Subscribe."""

    async def publish(self, topic: str, payload: "bytes | memoryview", retain: bool = False) -> None:
        """Tell the test."""
        tell("publish", topic, payload, retain)
        await asyncio.sleep(0)

    async def ended(self) -> str:
        """Stand for ever."""
        await self._over.wait()
        return ""

    def close(self, why: str = "closed") -> None:
        """Nothing is held."""


def tell(what: str, topic: str, payload: "bytes | memoryview", retain: bool) -> None:
    """Print a message for the test."""
    print(json.dumps([what, topic, str(bytes(payload), "utf-8"), retain]))


async def main() -> None:
    """Store, connect, report, take the receipts."""
    uplink = uplinks.Uplink(
        {"host": "", "port": 0, "device_id": "d32131", "token": "", "ntp": []},
        hal.Flash("ring"),
        Record(hal.Flash("bases"), 0, uplinks.BASES_SLOT_SIZE),
        lambda: {"firmware": plan["firmware"], "config": plan["config"]},
        lambda _: None,
        lambda: True,
        boot=plan["boot"],
    )
    connection = uplink.connection
    links = []
    connection._new_link = lambda will, on_message: links.append(Link(will, on_message)) or links[-1]
    uplink.clock.set(plan["now_ms"])
    for members in plan["readings"]:
        uplink.delivery.add(members)
    for report in plan["reports"]:
        connection.report(report)
    running = asyncio.create_task(connection.run())
    await asyncio.sleep(5)
    waiting = [len(uplink.ring)]
    for payload in plan["receipts"]:
        links[0].on_message("devices/d32131/receipts", memoryview(payload.encode()))
        waiting.append(len(uplink.ring))
    print(json.dumps({"waiting": waiting, "bad": uplink.delivery.bad_receipts}))
    running.cancel()


virtual_time.run(main())
