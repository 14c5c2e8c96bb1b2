"""Starts the firmware that `slots.py` decides on: an image becomes the folder `/app`, which `main.py` is run from.

Runs from `boot.py`, out of the flashed files, which no update replaces. If anything in here fails, the flashed firmware
starts, as if there had never been an update.
"""

import json
import os
import sys

import hal
import vfs
from firmware_image import BadImage
from records import Record
from slot_files import SlotFiles, check_slot
from slots import PARTITIONS, STATE_PARTITION, STATE_SLOT_SIZE, Slots

FOLDER = "/app"
BOARD_FILE = "board.json"
KEY_FILE = "update_key.bin"


def open_slots() -> Slots:
    """Return the slots of this board. Raises OSError if it has no partition for them."""
    return Slots(Record(hal.Flash(STATE_PARTITION), 0, STATE_SLOT_SIZE))


def read_trusted(root: str = "/") -> "tuple[str, bytes]":
    """Return the board's name and the modulus of the key that signs updates for it. Raises OSError, ValueError."""
    with open(root + BOARD_FILE) as file:
        name = json.load(file)["name"]
    with open(root + KEY_FILE, "rb") as file:
        return name, file.read()


def start(root: str = "/") -> None:
    """Choose what runs, make it importable, and tell it (`slots.started`)."""
    slots, heads = open_slots(), {}
    try:
        board, modulus = read_trusted(root)
    except (OSError, ValueError, KeyError):
        # Without a key nothing is signed.
        board, modulus = "", b""

    def is_bootable(slot: int) -> bool:
        try:
            heads[slot] = check_slot(hal.Flash(PARTITIONS[slot]), board, modulus)
        except (BadImage, OSError):
            return False
        return True

    started = slots.begin(hal.was_power_cut(), is_bootable)
    if started.slot:
        _enter(SlotFiles(hal.Flash(PARTITIONS[started.slot]), heads[started.slot]["files"]))
    # Not the module above, if the image brings its own.
    import slots as chosen

    chosen.started = started


def _enter(files: SlotFiles) -> None:
    """Run from these files: what was imported so far is forgotten where they have their own."""
    vfs.mount(files, FOLDER)
    os.chdir(FOLDER)
    for name, _, _, _ in files.ilistdir("/"):
        sys.modules.pop(name.rsplit(".", 1)[0], None)
