"""The full chain, started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from httpx import AsyncClient

from tests.conftest import fresh_world
from tests.full_chain import FullChain, full_chain
from tests.servers import Servers, World


@pytest.fixture(scope="package")
def chain_world(embedded_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """What the whole chain has to itself."""
    yield from fresh_world(embedded_servers, tmp_path_factory.mktemp("chain"))


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def chain(chain_world: World) -> AsyncIterator[FullChain]:
    async with full_chain(chain_world) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def olga(chain: FullChain) -> AsyncClient:
    """The admin, in a browser."""
    return await chain.person(chain.olga)
