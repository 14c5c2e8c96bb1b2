"""A socket that is set up over its serial console, which is the standard input and output here."""

import asyncio
import sys

import hal
from access import Access
from flash_layout import record
from set_up_serial import SerialSetUp

hal.board.flash_dir = sys.argv[1]
hal.board.networks = [(b"Home", "pass", -70, "WPA2"), (b"Cafe", "", -50, "NO")]
info = [b"WattAway", b"1.0.0", b"ESP32", b"kettle"]
print("a line of the log")
asyncio.run(SerialSetUp(Access(record("access")), hal.Wifi(), info, lambda: None).run())
