"""Plays a part of an update on flash that stays: asks a server (`check`), or starts what is chosen (`start`).

Its argument is a folder with `plan.json`, `board.json`, `update_key.bin`, and the flash.
"""

import asyncio
import json
import os
import sys

import hal

folder = sys.argv[1]
with open(folder + "/plan.json") as file:
    plan = json.load(file)
hal.board.flash_dir = folder
hal.board.power_cut = plan.get("power_cut", False)
sys.path.insert(0, "")
os.chdir(folder)

import firmware_start  # noqa: E402


def check() -> dict:
    """Ask the server once."""
    import http_client
    import update
    from packet_stream import tls_context

    # The test does not wait as long as a socket does.
    update._spread = lambda _: 0
    http_client.ANSWER_S = http_client.FILL_S = plan.get("patience_s", 5)
    tls = None
    if plan.get("ca"):
        with open(plan["ca"], "rb") as authority:
            tls = tls_context(authority.read())
    client = http_client.HttpClient(
        ("127.0.0.1", plan["port"]), plan.get("token", "ab" * 32), tls, plan.get("server_name")
    )
    told = []
    slots, trusted = firmware_start.open_slots(), firmware_start.read_trusted(folder + "/")
    updates = update.Updates(slots, client, trusted, plan.get("counter", 1), told.append, bool, hal.restart)
    for _ in range(plan.get("checks", 1)):
        staged = asyncio.run(updates.check())
    return {"staged": staged, "error": updates.last_error, "told": told}


def start() -> dict:
    """Start as `boot.py` does, and run what `main.py` there is; then prove it if it is on trial."""
    firmware_start.start(folder + "/")
    import slots

    started = slots.started
    told = []
    runs = None
    if started.slot:
        import main

        runs = main.RUNS
    if plan.get("signs") is not None:
        prove(started, told)
    return {"slot": started.slot, "trial": started.on_trial, "safe": started.safe, "runs": runs, "told": told}


def prove(started: "object", told: list) -> None:
    """Let the health gate decide at once."""
    import health

    health.SETTLED_AFTER_MS = 0
    signs = {name: (lambda seen=seen: seen) for name, seen in plan["signs"].items()}
    gate = health.Health(firmware_start.open_slots(), started, ("1.2.0", 2), signs, told.append, 0)
    restarts = []
    asyncio.run(gate.run(lambda: True, lambda: restarts.append(1)))
    told.append({"restarts": len(restarts)})


print(json.dumps({"check": check, "start": start}[plan["do"]]()))
