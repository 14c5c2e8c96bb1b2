"""Fixtures: servers shared by the whole session, and a fresh corner of them for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_servers import StackSet, why_not
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
            new_corner=embedded.new_corner,
            remove_corner=embedded.remove_corner,
            admit=lambda device_ids: None,
            kill9=lambda name: embedded.child(name).kill(),
            start=embedded.start,
            pause=lambda name: embedded.child(name).signal(signal.SIGSTOP),
            resume=lambda name: embedded.child(name).signal(signal.SIGCONT),
            names=("kafka", "mqtt", "redis", "device-auth"),
        )
    finally:
        embedded.stop_all()


@pytest.fixture(scope="session")
def stack_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The real servers of ops/stack, started at the first test that needs them."""
    if (reason := why_not()) is not None:
        pytest.fail(reason) if os.environ.get("WATTAWAY_REQUIRE_STACK") == "1" else pytest.skip(reason)
    stack = StackSet(tmp_path_factory.mktemp("stack"))
    try:
        stack.start_all()
        yield Servers(
            variant="stack",
            env=stack.env,
            new_corner=stack.new_corner,
            remove_corner=stack.remove_corner,
            admit=stack.servers.admit_devices,
            kill9=stack.kill9,
            start=stack.start,
            pause=lambda name: stack.send(name, signal.SIGSTOP),
            resume=lambda name: stack.send(name, signal.SIGCONT),
            names=stack.NAMES,
        )
    finally:
        stack.stop_all()


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


@pytest.fixture
def stack_world(stack_servers: Servers, tmp_path: Path) -> Iterator[World]:
    """The same on the real servers alone."""
    yield from _world(stack_servers, tmp_path)


def _world(servers: Servers, folder: Path) -> Iterator[World]:
    world = new_world(servers, folder)
    try:
        yield world
    finally:
        world.stop_roles()
        for name in servers.names:
            servers.resume(name)
            servers.start(name)
        servers.remove_corner(world.env)
