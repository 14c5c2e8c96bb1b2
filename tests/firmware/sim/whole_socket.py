"""The whole firmware in virtual time, without a server; holds the button as long as told, and says what it does.

Argument: the folder of its flash, in which `plan.json` says `board` (a file), `press_ms`, `run_s`, and perhaps `access`
to keep before it starts, `tripped`, a latched cause, `world`, members of the simulated board, and `defects`,
modules, classes and methods, each of which wants memory that is not there.
"""

import asyncio
import json
import sys

import hal
import virtual_time
from mains import Load, Mains

hal.board.flash_dir = sys.argv[1]
hal.board.flash_size = 4 * 4096
hal.board.use_virtual_clock()
with open(sys.argv[1] + "/plan.json") as file:
    plan = json.load(file)

for name, value in plan.get("world", {}).items():
    setattr(hal.board, name, value)

from access import Access  # noqa: E402
from application import Application  # noqa: E402
from board import read_board  # noqa: E402
from flash_layout import record  # noqa: E402

with open(plan["board"]) as file:
    board = read_board(file.read())
hal.board.mains = Mains(hal.board, board, Load([(60_000, 500_000, 1000)]))
access = Access(record("access"))
if "tripped" in plan:
    record("relay").save(bytes([0, plan["tripped"], 0]))
if "access" in plan:
    access.keep(plan["access"])


async def want_memory(*_: object) -> object:
    """Fail as no one expects."""
    raise MemoryError


for module, owner, method in plan.get("defects", []):
    setattr(getattr(__import__(module), owner), method, want_memory)
application = Application(board, access)
button = board["button"]


def tell(when: str) -> None:
    """Print what there is to be seen from outside."""
    seen = {"when": when, "relay": application.relay, "ble": hal.board.gatt_server is not None}
    seen["ssid"], seen["energy_mwh"] = access.members.get("ssid"), application.socket.energy.energy_mwh
    uplink = application._uplink
    seen["stored"], seen["untold"] = uplink and len(uplink.ring), uplink and uplink.connection._reports
    seen["bites"] = hal.board.watchdog_bites()
    print(json.dumps(seen))


async def story() -> None:
    """Press, wait, and look."""
    running = asyncio.create_task(application.run())
    await asyncio.sleep(1)
    application.switch(True)
    await asyncio.sleep(60)
    tell("before")
    hal.board.levels[button["pin"]] = not button["active_low"]
    await asyncio.sleep_ms(plan["press_ms"])
    hal.board.levels[button["pin"]] = button["active_low"]
    await asyncio.sleep(plan["run_s"])
    tell("after")
    if plan.get("off_in_the_end"):
        application.switch(False)
        await asyncio.sleep(5)
    if running.done():
        # As `main.py` would end.
        await running
    running.cancel()


virtual_time.run(story())
