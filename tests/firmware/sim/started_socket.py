"""A start of the whole firmware as on the board, in the machine's time: `boot.py`'s choice, then what was chosen.

Its argument is a folder with `plan.json`, `board.json`, `update_key.bin`, and the flash. The plan says `access`,
`power_cut`, and perhaps `crash_after_s` (an error that nobody catches), `check_after_s` (when it looks for updates),
`patience_s` (of its downloads), `erase_ms` (how long the flash stands still for a sector), `check_ms` (how long a
signature takes) and `overload_after_s` (when 5 kW are plugged in). It says four times a second what is to be seen from
outside.
"""

import asyncio
import json
import sys
import time

import hal
import wall_time
from mains import Load, Mains

folder = sys.argv[1]
with open(folder + "/plan.json") as file:
    plan = json.load(file)
with open(folder + "/board.json") as file:
    described = file.read()
hal.board.flash_dir, hal.board.power_cut = folder, plan["power_cut"]
hal.board.flash_size = 32 * 4096
sys.path.insert(0, "")

import firmware_start  # noqa: E402

firmware_start.start(folder + "/")
import slots  # noqa: E402

started = slots.started
if started.slot:
    import main

    print(json.dumps({"runs": main.RUNS, "slot": started.slot, "trial": started.on_trial}))
    sys.exit()

import flash  # noqa: E402
import http_client  # noqa: E402
import slot_files  # noqa: E402
import smart_socket  # noqa: E402
import update  # noqa: E402
from access import Access  # noqa: E402
from application import Application  # noqa: E402
from board import read_board  # noqa: E402
from flash_layout import record  # noqa: E402

update.FIRST_CHECK_S = plan.get("check_after_s", 3600)
update._spread = lambda pause_s: pause_s
http_client.ANSWER_S = http_client.FILL_S = plan.get("patience_s", 5)
smart_socket.INTERVAL_DEFAULT_MS = 1_000
board = read_board(described)
hal.board.mains = Mains(hal.board, board, Load([(60_000, 500_000, 1000)]))
access = Access(record("access"))
access.keep(plan["access"])
# What only the start needs is memory that the socket has not.
described = file = None


class Looking(update.Updates):
    """Says why a check brought nothing."""

    async def check(self) -> bool:
        """Ask once."""
        staged = await super().check()
        if self.last_error:
            print("update:", self.last_error)
        return staged


class Watch:
    """How long, at worst, timers were late and the watchdog was not fed; and how long an overload flowed; in ms."""

    def __init__(self) -> None:
        self.flowed_ms = None
        self.at_ms, self.late_ms, self.hungry_ms = hal.board.elapsed_ms(), 0, 0
        hal.Watchdog.feed = self._fed_by(hal.Watchdog.feed)

    def _fed_by(self, feed: "object") -> "object":
        def fed(watchdog: "object") -> None:
            if hal.board.watchdog_fed_ms is not None:
                self.hungry_ms = max(self.hungry_ms, hal.board.elapsed_ms() - hal.board.watchdog_fed_ms)
            feed(watchdog)

        return fed

    def tick(self) -> None:
        """Note how late the timers are."""
        now_ms = hal.board.elapsed_ms()
        self.at_ms, self.late_ms = now_ms, max(self.late_ms, now_ms - self.at_ms)


def _slow(function: "object", pause_ms: int) -> "object":
    def slowly(*arguments: "object") -> "object":
        time.sleep_ms(pause_ms)
        return function(*arguments)

    return slowly


update.Updates = Looking
watch = Watch()
application = Application(board, access, started, firmware_start.read_trusted(folder + "/"))
if plan.get("switched_on"):
    application.switch(True)
if plan.get("erase_ms"):
    flash.Flash.erase = _slow(flash.Flash.erase, plan["erase_ms"])
    slot_files.is_signed = _slow(slot_files.is_signed, plan["check_ms"])
hal.Timer(1).start(50, watch.tick)


def seen() -> dict:
    """Return what is to be seen from outside."""
    uplink = application._uplink
    told = {"safe": started.safe, "relay": application.relay, "online": uplink.connection.online}
    told["stored"], told["late_ms"], told["hungry_ms"] = len(uplink.ring), watch.late_ms, watch.hungry_ms
    told["trial"], told["energy_mwh"] = firmware_start.open_slots().trial, application.socket.energy.energy_mwh
    told["trip"], told["flowed_ms"] = application.socket.cause_of_trip(), watch.flowed_ms
    return told


async def look() -> None:
    """Print what is to be seen."""
    while True:
        await asyncio.sleep(0.25)
        print(json.dumps(seen()))


async def overload() -> None:
    """Plug in more than the socket bears; note how long that flows."""
    await asyncio.sleep(plan["overload_after_s"])
    hal.board.mains.settle()
    hal.board.mains = Mains(hal.board, board, Load([(60_000, 5_000_000, 1000)]))
    began_ms = hal.board.elapsed_ms()
    while application.relay:
        await asyncio.sleep(0.01)
    watch.flowed_ms = hal.board.elapsed_ms() - began_ms


async def story() -> None:
    """Run until it crashes or restarts."""
    parts = [application.run(), look()]
    if plan.get("overload_after_s"):
        parts.append(overload())
    if plan.get("crash_after_s"):
        parts.append(crash())
    await asyncio.gather(*parts)


async def crash() -> None:
    """Fail as no one expects."""
    await asyncio.sleep(plan["crash_after_s"])
    raise ValueError("a defect")


wall_time.run(story())
