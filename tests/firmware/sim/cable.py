"""A socket that is set up over its serial console, which is the standard input and output here.

Argument: the folder of its flash. Its load is on as long as there is a file `load_is_on` in it.
"""

import asyncio
import os
import sys

import hal
from access import Access
from flash_layout import record
from set_up import SetUp
from set_up_serial import SerialSetUp

hal.board.flash_dir = sys.argv[1]
hal.board.networks = [(b"Home", "pass", -70, "WPA2"), (b"Cafe", "", -50, "NO")]
info = [b"WattAway", b"1.0.0", b"ESP32", b"kettle"]
print("a line of the log")
access = Access(record("access"))


def is_load_on() -> bool:
    """Look for the file."""
    return "load_is_on" in os.listdir(sys.argv[1])


def new_set_up(tell: "object", over_ble: bool) -> SetUp:
    """Return the set-up of this socket."""
    return SetUp(access, hal.Wifi(), info, lambda: None, tell, is_load_on, over_ble)


asyncio.run(SerialSetUp(new_set_up).run())
