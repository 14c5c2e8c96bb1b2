"""What MicroPython runs after `boot.py`: the socket of this board."""

import asyncio

import slots
from access import Access
from application import Application
from board import read_board
from firmware_start import BOARD_FILE, read_trusted
from flash_layout import record

_ROOT = "/"


def trusted() -> "tuple[str, bytes] | None":
    """Return whose updates are taken, None if there is no key on the board."""
    try:
        return read_trusted(_ROOT)
    except (OSError, ValueError):
        return None


def start() -> None:
    """Run, for ever. An error ends it: then the protection goes on alone until the watchdog restarts the board."""
    with open(_ROOT + BOARD_FILE) as file:
        board = read_board(file.read())
    asyncio.run(Application(board, Access(record("access")), slots.started, trusted()).run())


if __name__ == "__main__":
    start()
