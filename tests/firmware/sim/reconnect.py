"""A connection that nobody answers, in virtual time: prints its pauses, then those after a receipt has come."""

import asyncio
import json

import hal
import virtual_time
from connection import Connection
from mqtt import LinkLost

REFUSED = 14
hal.board.use_virtual_clock()


class Delivery:
    """Sends nothing."""

    async def send(self, publish: "object") -> None:
        """Wait."""
        await asyncio.sleep(3600)

    def take_receipt(self, payload: memoryview) -> None:
        """Take it."""


class Link:
    """Is refused, or stands for `stands_ms` and brings a receipt if told so."""

    tried, stands_ms, brings_receipt = [], None, False

    def __init__(self, will: "object", on_message: "object") -> None:
        self._on_message = on_message

    async def open(self) -> None:
        """Be refused unless told to stand."""
        Link.tried.append(hal.board.elapsed_ms())
        if Link.stands_ms is None:
            raise LinkLost("refused")

    async def subscribe(self, wanted: "object") -> None:
        """Subscribe, and get a receipt."""
        if Link.brings_receipt:
            self._on_message("devices/d/receipts", memoryview(b"{}"))

    async def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Take it."""

    async def ended(self) -> str:
        """Stand for a while."""
        await asyncio.sleep_ms(Link.stands_ms)
        return "lost"

    def close(self, why: str) -> None:
        """Nothing is held."""


def after(count: int) -> "object":
    """Return a coroutine that ends once so many more attempts were made."""
    goal = len(Link.tried) + count

    async def wait() -> None:
        while len(Link.tried) < goal:
            await asyncio.sleep_ms(100)

    return wait()


def pauses() -> "list[int]":
    """Return the pauses so far, and begin anew with the last attempt."""
    tried = Link.tried
    found = [tried[at + 1] - tried[at] for at in range(len(tried) - 1)]
    Link.tried = tried[-1:]
    return found


async def main() -> None:
    """Be refused, lose lines that bring nothing, get a receipt, be refused again."""
    running = asyncio.create_task(Connection("d", Link, Delivery(), dict, lambda _: None).run())
    await after(REFUSED + 1)
    told = {"refused": pauses()}
    Link.stands_ms = 1_000
    await after(4)
    told["lost"] = pauses()[1:]
    Link.brings_receipt = True
    await after(4)
    told["receipted"] = pauses()[1:]
    Link.stands_ms = None
    await after(4)
    told["refused_again"] = pauses()[1:]
    print(json.dumps(told))
    running.cancel()


virtual_time.run(main())
