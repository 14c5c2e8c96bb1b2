"""Asks the servers named in its argument (JSON: `ntp`, `web`, `set_ms`) for the time, once per line of its input.

Tells whether the time was taken, and how far its clock is off the machine's, null as long as it has none.
"""

import asyncio
import json
import sys
import time

from clock import Clock
from time_sync import TimeSync

plan = json.loads(sys.argv[1])
clock = Clock()
sync = TimeSync(clock, [tuple(one) for one in plan["ntp"]], plan["web"] and tuple(plan["web"]))

for _ in sys.stdin:
    taken, now_ms = asyncio.run(sync.ask_once()), clock.now_ms()
    print(json.dumps({"taken": taken, "off_ms": now_ms and now_ms - time.time_ns() // 1_000_000}))
