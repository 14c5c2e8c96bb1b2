"""One socket as a process: the firmware on simulated hardware, in the machine's time. Its argument is its folder.

The folder has `socket.json`: the board's description (`board`), what the set-up told it (`access`), `unique_id`,
`ring_bytes` and `interval_ms` (between two readings, unless its configuration says another one); `load.bin`, what is
plugged in; and its flash. `--restarted` says that this start is no power cut. It ends with 75 when
the firmware restarts the board.
"""

import json
import sys

import hal
import wall_time
from mains import Load, Mains

folder = sys.argv[1]
with open(folder + "/socket.json") as file:
    described = json.load(file)
hal.board.flash_dir = folder
hal.board.flash_size = described["ring_bytes"]
hal.board.unique_id = bytes.fromhex(described["unique_id"])
hal.board.power_cut = "--restarted" not in sys.argv
hal.board.mains = Mains(hal.board, described["board"], Load(folder + "/load.bin"))

import smart_socket  # noqa: E402
from access import Access  # noqa: E402
from application import Application  # noqa: E402
from board import read_board  # noqa: E402
from flash_layout import record  # noqa: E402

is_new = record("relay").load() is None
board, access = read_board(json.dumps(described["board"])), Access(record("access"))
if access.members != described["access"]:
    access.keep(described["access"])
smart_socket.INTERVAL_DEFAULT_MS = described["interval_ms"]
# What only the start needs is memory that the socket has not.
described = file = None
application = Application(board, access)
if is_new:
    # Whoever plugs a socket in presses its button.
    application.switch(True)
wall_time.run(application.run())
