"""Five sockets with the real firmware through the whole chain: live on the API, switched, configured, restarted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from ops.firmware.fleet import FirmwareFleet, FirmwareFleetPlan, Servers, furnish
from tests.contract.chain.test_history import ended
from tests.full_chain import FullChain, ask, eventually

pytestmark = [pytest.mark.embedded, pytest.mark.long, pytest.mark.asyncio(loop_scope="package")]


@asynccontextmanager
async def running_fleet(chain: FullChain, folder: Path) -> AsyncIterator[tuple[FirmwareFleet, dict[str, Path]]]:
    plan = FirmwareFleetPlan(5, interval_s=1, id_prefix=f"fw{chain.world.marker}")
    kinds = dict(plan.device_kinds())
    tokens = chain.world.register(chain.olga.tenant_id, kinds)
    servers = Servers(f"mqtt://127.0.0.1:{chain.world.settings.mqtt_port}", chain.base_url)
    folders = {device_id: folder / device_id for device_id in kinds}
    for device_id, its_folder in folders.items():
        furnish(its_folder, device_id, kinds[device_id], tokens[device_id], servers, interval_s=1)
    fleet = FirmwareFleet(folders)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fleet.run())
        try:
            yield fleet, folders
        finally:
            fleet.stop()


async def commanded(client: AsyncClient, device_id: str, **order: Any) -> Any:
    command = await ask(client, "POST", f"devices/{device_id}/commands", 202, json=order)
    return await ended(client, command)


def said(folders: dict[str, Path]) -> str:
    return "".join((folder / "socket.log").read_text() for folder in folders.values())


async def test_five_firmwares_are_live_and_do_what_they_are_told(
    chain: FullChain, olga: AsyncClient, tmp_path: Path
) -> None:
    async with running_fleet(chain, tmp_path) as (fleet, folders):
        for device_id in folders:

            async def is_live(device_id: str = device_id) -> Any:
                answer = await olga.get(f"/api/v1/devices/{device_id}/latest")
                latest = answer.json() if answer.status_code == 200 else {}
                # A pulse meter's first readings know no voltage: it has not had its turn on CF1.
                return latest if latest.get("relay") and "voltage_v" in latest else None

            latest = await eventually(is_live, within_s=60)
            assert latest["voltage_v"] == pytest.approx(230, rel=0.02), said(folders)
        first, second, *_ = folders
        done = await commanded(olga, first, type="switch", relay=False)
        assert done["state"] == "acknowledged"

        async def is_off() -> bool:
            document = await ask(olga, "GET", f"devices/{first}/latest", 200)
            return document["relay"] is False and document["power_w"] == 0

        assert await eventually(is_off)
        refused = await commanded(olga, second, type="restart")
        assert (refused["state"], refused["reason"]) == ("rejected", "load_on")

        async def is_calibrated() -> bool:
            document = await commanded(olga, second, type="calibrate", reference={"voltage_mv": 240_000})
            assert (document["state"], document["reason"]) in (("acknowledged", None), ("rejected", "unsteady"))
            return bool(document["state"] == "acknowledged")

        assert await eventually(is_calibrated, within_s=30), said(folders)

        async def measures_so() -> bool:
            document = await ask(olga, "GET", f"devices/{second}/latest", 200)
            return bool(document["voltage_v"] == pytest.approx(240, rel=0.01))

        assert await eventually(measures_so)
        restarted = await commanded(olga, first, type="restart")
        assert restarted["state"] == "acknowledged"

        async def is_back() -> bool:
            return fleet.restarts == 1 and len(fleet.pids) == 5

        assert await eventually(is_back, within_s=30)
        again = await commanded(olga, first, type="toggle")
        assert again["state"] == "acknowledged"
    assert fleet.crashes == 0, said(folders)
