"""Fixtures: servers shared by the whole session, and a fresh corner of them for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import EmbeddedSet, Servers, World, new_world


@pytest.fixture(scope="session", autouse=True)
def _settings_come_from_the_test_alone() -> None:
    """The operator's own settings must not reach a test, nor the roles it starts."""
    for name in [name for name in os.environ if name.startswith("WATTAWAY_") and name != "WATTAWAY_REQUIRE_STACK"]:
        del os.environ[name]


@pytest.fixture(scope="session")
def embedded_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The embedded servers, started at the first test that needs them."""
    embedded = EmbeddedSet(tmp_path_factory.mktemp("embedded"))
    try:
        embedded.start_all()
        yield Servers(
            variant="embedded",
            env=embedded.env,
            new_database=lambda folder: f"sqlite:///{folder / 'wattaway.db'}",
            kill9=lambda name: embedded.child(name).kill(),
            start=embedded.start,
            pause=lambda name: embedded.child(name).signal(signal.SIGSTOP),
            resume=lambda name: embedded.child(name).signal(signal.SIGCONT),
            names=("kafka", "mqtt", "redis", "device-auth"),
        )
    finally:
        embedded.stop_all()


@pytest.fixture(scope="session")
def stack_servers() -> Iterator[Servers]:
    """The real servers of ops/stack."""
    missing = "the real servers are not running; `make stack` starts them"
    if os.environ.get("WATTAWAY_REQUIRE_STACK") == "1":
        pytest.fail(missing)
    pytest.skip(missing)
    yield


@pytest.fixture(
    scope="session",
    params=[pytest.param("embedded", marks=pytest.mark.embedded), pytest.param("stack", marks=pytest.mark.stack)],
)
def servers(request: pytest.FixtureRequest) -> Servers:
    """Both ways to run, one after the other."""
    chosen: Servers = request.getfixturevalue(f"{request.param}_servers")
    return chosen


@pytest.fixture
def world(servers: Servers, tmp_path: Path) -> Iterator[World]:
    """A test's own topics, keys, database and roles, on each of the two ways to run."""
    yield from _world(servers, tmp_path)


@pytest.fixture
def embedded_world(embedded_servers: Servers, tmp_path: Path) -> Iterator[World]:
    """The same on the embedded servers alone."""
    yield from _world(embedded_servers, tmp_path)


def _world(servers: Servers, folder: Path) -> Iterator[World]:
    world = new_world(servers, folder)
    try:
        yield world
    finally:
        world.stop_roles()
        for name in servers.names:
            servers.start(name)
