"""The fault tests' own fixture: the chain from the MQTT broker to the read models, running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.chain import Chain
from tests.servers import World


@pytest.fixture
def chain(world: World) -> Iterator[Chain]:
    """Bridge and projector as processes of their own, on each of the two ways to run."""
    yield from _running(world)


@pytest.fixture
def stack_chain(stack_world: World) -> Iterator[Chain]:
    """The same on the real servers alone."""
    yield from _running(stack_world)


def _running(world: World) -> Iterator[Chain]:
    chain = Chain(world)
    chain.start("bridge")
    chain.start("projector")
    yield chain
    chain.close()
