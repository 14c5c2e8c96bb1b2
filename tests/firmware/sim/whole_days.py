"""The whole firmware with its timer and meter for hours or days of virtual time, its engine away; tells how it went.

Arguments: hours, ms between two checks of the protection and between two looks of the loop (their own would take days
for 30), the file of the board, and the folder of its flash. The load is 500 W.
"""

import asyncio
import gc
import json
import sys

import hal
import virtual_time
from mains import Load, Mains

HOURS, PERIOD_MS = int(sys.argv[1]), int(sys.argv[2])
SAMPLES = 10
hal.board.flash_dir = sys.argv[4]
hal.board.flash_size = 4 * 4096
hal.board.use_virtual_clock()

import application as applications  # noqa: E402
import set_up_serial  # noqa: E402
import smart_socket  # noqa: E402
from access import Access  # noqa: E402
from board import read_board  # noqa: E402
from flash_layout import record  # noqa: E402

with open(sys.argv[3]) as file:
    board = read_board(file.read())
smart_socket.PERIOD_MS = PERIOD_MS
applications._ATTEND_S = set_up_serial._POLL_S = PERIOD_MS / 1000
hal.board.mains = Mains(hal.board, board, Load([(60_000, 500_000, 1000)]))
access = Access(record("access"))
server = {"mqtt": "mqtt://127.0.0.1:1", "device_id": "d", "token": "ab" * 32, "ntp": [], "http": ""}
server["ssid"], server["password"] = "Home", "pass"
access.keep(server)
application = applications.Application(board, access)


async def story() -> None:
    """Switch on, and look at heap and ticks a few times."""
    running = asyncio.create_task(application.run())
    await asyncio.sleep(1)
    application.switch(True)
    heap, wraps, last = [], 0, hal.ticks_ms()
    for _ in range(SAMPLES):
        for _ in range(HOURS * 6):
            await asyncio.sleep(3600 // SAMPLES // 6)
            now = hal.ticks_ms()
            wraps, last = wraps + (now < last), now
        gc.collect()
        heap.append(gc.mem_alloc())
    socket, uplink = application.socket, application._uplink
    told = {"heap": heap, "wraps": wraps, "relay": application.relay, "trip": socket.cause_of_trip()}
    told["energy_mwh"], told["true_mwh"] = socket.energy.energy_mwh, hal.board.mains.true_mw_ms // 3_600_000
    told["faults"], told["checks"], told["stored"] = socket.faults, socket.checks, uplink.delivery._seq
    told["bites"], told["hours"] = hal.board.watchdog_bites(), hal.board.elapsed_ms() // 3_600_000
    if running.done():
        await running
    print(json.dumps(told))
    running.cancel()


virtual_time.run(story())
