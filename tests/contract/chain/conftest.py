"""The full chain, started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio
from httpx import AsyncClient

from domain.firmware_keys import public_pem
from tests.conftest import fresh_world
from tests.firmware.signed_images import key
from tests.full_chain import FullChain, full_chain
from tests.servers import Servers, World, settings_from


@pytest.fixture(scope="package")
def chain_world(embedded_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """What the whole chain has to itself, and a key whose firmware it trusts."""
    keys = tmp_path_factory.mktemp("keys") / "fleet.public.pem"
    keys.write_bytes(public_pem(key(0)))
    for world in fresh_world(embedded_servers, tmp_path_factory.mktemp("chain")):
        env = {**world.env, "WATTAWAY_FIRMWARE_KEYS": str(keys)}
        yield replace(world, env=env, settings=settings_from(env))


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def chain(chain_world: World) -> AsyncIterator[FullChain]:
    async with full_chain(chain_world) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def olga(chain: FullChain) -> AsyncClient:
    """The admin, in a browser."""
    return await chain.person(chain.olga)
