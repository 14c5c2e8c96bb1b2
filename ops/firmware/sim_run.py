"""Registers the sockets of a firmware fleet, makes their folders, and runs them until it is enough."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import structlog
from rich.console import Console

from domain.errors import SettingInvalid
from ops.firmware.fleet import FirmwareFleet, FirmwareFleetPlan, Servers, furnish, micropython
from ops.registering import registration
from ops.settings import Settings

log = structlog.get_logger()

FOLDER = "firmware-sockets"
ROLE = "firmware"


def run_firmware_fleet(settings: Settings, plan: FirmwareFleetPlan) -> int:
    """Run the sockets of the plan until it is done, or SIGINT or SIGTERM; 0 if none crashed.

    Raises:
        SettingInvalid: MicroPython is not installed, or none of the sockets can take part.
    """
    micropython()
    folders = prepare(settings, plan)
    log.info("firmware fleet starts", sockets=len(folders))
    fleet = asyncio.run(_run(folders, plan.duration_s))
    Console().print(f"{len(folders)} firmwares ran; {fleet.restarts} restarts, {fleet.crashes} crashes")
    return 1 if fleet.crashes else 0


def prepare(settings: Settings, plan: FirmwareFleetPlan) -> dict[str, Path]:
    """Register the sockets and make their folders, by device id; says who is left out, and why."""
    kinds = dict(plan.device_kinds())
    with registration(settings, role=ROLE) as registering:
        tokens, refused = registering.tokens(kinds)
    for device_id, why in refused.items():
        log.warning("socket left out", device_id=device_id, why=why)
    if not tokens:
        device_id, why = next(iter(refused.items()))
        raise SettingInvalid(f"none of {plan.sockets} sockets can run: {device_id} {why}")
    ca = Path(settings.mqtt_tls_ca).read_text() if settings.mqtt_tls_ca else None
    mqtt = f"mqtt{'s' if ca else ''}://{settings.mqtt_host}:{settings.mqtt_port}"
    servers = Servers(mqtt, settings.api_url, ca)
    folders = {device_id: settings.data_dir / FOLDER / device_id for device_id in tokens}
    for device_id, folder in folders.items():
        furnish(folder, device_id, kinds[device_id], tokens[device_id], servers, interval_s=plan.interval_s)
    return folders


async def _run(folders: dict[str, Path], duration_s: float | None) -> FirmwareFleet:
    fleet, loop = FirmwareFleet(folders), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, fleet.stop)
    if duration_s is not None:
        loop.call_later(duration_s, fleet.stop)
    await fleet.run()
    return fleet
