"""Starts what was flashed as MicroPython does on a board: mounts its files as `/`, runs `boot.py`, then `main.py`.

Only the hardware is simulated: its modules are found first, and the partitions are files. Arguments: the folder with
`<partition>.bin` for each of them, the folder of the simulated hardware's bytecode, and perhaps `impatient`, for a
set-up that gives up a Wi-Fi soon. The machine's files stand under `/host`.
"""

import json
import os
import sys

import vfs

flash_dir, hardware = sys.argv[1:3]


class Partition:
    """A block device as `esp32.Partition` is one, that nothing may write."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")
        self._blocks = self._file.seek(0, 2) // 4096

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        """Fill `buffer`."""
        self._file.seek(block * 4096 + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        """Refuse: a socket writes to its partitions of records alone."""
        raise AssertionError("the flashed files are not written")

    def ioctl(self, request: int, _argument: int) -> "int | None":
        """Return the number of blocks (4) or their size (5)."""
        return {4: self._blocks, 5: 4096}.get(request)


flashed = Partition(flash_dir + "/vfs.bin")
vfs.umount("/")
vfs.mount(vfs.VfsPosix("/"), "/host")
vfs.mount(flashed, "/")
os.chdir("/")
sys.path[:] = ["/host" + hardware, "", ".frozen"]

import hal  # noqa: E402
import simulated_board  # noqa: E402
import wall_time  # noqa: E402
from mains import Load, Mains  # noqa: E402

hal.board.flash_dir = "/host" + flash_dir
board = hal.board
# An update brings its own `hal`, for the same hardware.
simulated_board.Board = lambda: board
for name in os.listdir(hal.board.flash_dir):
    hal.board.flash_sizes[name[: -len(".bin")]] = os.stat(hal.board.flash_dir + "/" + name)[6]
hal.board.networks = [(b"Home", "pass", -70, "WPA2")]
with open("board.json") as description:
    hal.board.mains = Mains(hal.board, json.load(description), Load([(60_000, 500_000, 1000)]))
wall_time.core._io_queue = wall_time._Waiting()
if "impatient" in sys.argv:
    import set_up

    set_up.JOIN_WITHIN_MS = 300

for script in ("boot.py", "main.py"):
    with open(script) as source:
        program = source.read()
    exec(program, {"__name__": "__main__"})
