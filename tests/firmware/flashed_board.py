"""A board that was flashed: its files and its partition table are what stood in the flash, its hardware is simulated.

It hangs on a pseudo-terminal like a board on its cable, and starts again whenever its firmware restarts it.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from access import Access
from esp_idf_defs import PartitionTable
from flash import SECTOR_SIZE, Flash
from records import Record
from slots import STATE_SLOT_SIZE, Slots

from tests.firmware.micropython import RESTARTED, SIM, command, compiled_hardware

HEAP_KIB = 264
"""For the whole firmware with its updates, the mounted file system and the simulated hardware; 256 do not do."""

ACCESS_AT = 12 * SECTOR_SIZE
"""The last of the records in `firmware_mpy/flash_layout.py`."""


class FlashedBoard:
    """
    Args:
        folder: where its partitions are kept, as `<name>.bin`.
        table: the partition table, as it stood in the flash.
        files: what stood in the partition `vfs`.
    """

    def __init__(self, folder: Path, table: bytes, files: bytes) -> None:
        self.folder, self.starts = folder, 0
        for partition in PartitionTable.from_binary(table):
            (folder / f"{partition.name}.bin").write_bytes(b"\xff" * partition.size)
        self.put("vfs", files)
        self._running: subprocess.Popen[bytes] | None = None

    def told(self) -> dict[str, Any]:
        """What it keeps of its set-up."""
        return dict(Access(Record(self._flash("state"), ACCESS_AT, SECTOR_SIZE)).members)

    def tell(self, **members: Any) -> None:
        """Let it know this before it starts."""
        flash = self._flash("state")
        Access(Record(flash, ACCESS_AT, SECTOR_SIZE)).keep(members)
        self._store("state", flash)

    def put(self, name: str, content: bytes) -> None:
        """Write `content` to the beginning of a partition."""
        path = self.folder / f"{name}.bin"
        size = path.stat().st_size
        assert len(content) <= size
        path.write_bytes(content.ljust(size, b"\xff"))

    def stage(self, slot: int, counter: int) -> None:
        """Let the image in that slot have its trial."""
        flash = self._flash("slots")
        Slots(Record(flash, 0, STATE_SLOT_SIZE)).stage(slot, counter)
        self._store("slots", flash)

    def _flash(self, name: str) -> Flash:
        content = (self.folder / f"{name}.bin").read_bytes()
        flash = Flash(len(content))
        flash.write(0, content)
        return flash

    def _store(self, name: str, flash: Flash) -> None:
        content = bytearray(flash.size)
        flash.read(0, content)
        self.put(name, bytes(content))

    @contextmanager
    def plugged_in(self, *, patient: bool = True) -> Iterator[str]:
        """Power it; the port that it hangs on."""
        near, far = pty.openpty()
        tty.setraw(far)
        stopping = threading.Event()
        words = [str(self.folder), str(compiled_hardware()), *([] if patient else ["impatient"])]
        line = command(SIM / "boot_flashed.py", *words, heap_kib=HEAP_KIB)
        keeper = threading.Thread(target=self._keep, args=(line, near, stopping))
        keeper.start()
        try:
            yield os.ttyname(far)
        finally:
            stopping.set()
            if self._running is not None:
                self._running.kill()
            keeper.join()
            os.close(near)
            os.close(far)

    def _keep(self, line: list[str], console: int, stopping: threading.Event) -> None:
        environment: dict[str, Any] = {**os.environ, "MICROPYPATH": ".frozen"}
        code = RESTARTED
        while code == RESTARTED and not stopping.is_set():
            self.starts += 1
            self._running = subprocess.Popen(line, env=environment, stdin=console, stdout=console, stderr=console)
            if stopping.is_set():
                self._running.kill()
            code = self._running.wait()
            _lose(console, for_s=0.5)


def _lose(console: int, for_s: float) -> None:
    """Let everything go that comes while a board starts."""
    deadline = time.monotonic() + for_s
    while (left_s := deadline - time.monotonic()) > 0:
        if select.select([console], [], [], left_s)[0]:
            os.read(console, 4096)
