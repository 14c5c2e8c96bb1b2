"""Fixtures: servers shared by the whole session, and a fresh corner of them for every test."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_servers import StackSet, why_not
from tests.servers import EmbeddedSet, Servers, World, new_world

# Each test builds an API and drops it: looking for garbage as often as usual takes a seventh of all the time.
_LOOK_FOR_GARBAGE_EVERY = 50_000


def pytest_configure() -> None:
    """Look for garbage less often."""
    gc.set_threshold(_LOOK_FOR_GARBAGE_EVERY, 20, 50)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each test beside those that share its servers; leave what takes long on the real ones to `make faults`."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.get_closest_marker("stack") or "stack_servers" in fixtures:
            item.add_marker(pytest.mark.xdist_group("stack"))
        elif "embedded_servers" in fixtures or "servers" in fixtures:
            item.add_marker(pytest.mark.xdist_group("embedded"))
        if item.get_closest_marker("long_on_stack") and item.get_closest_marker("stack"):
            item.add_marker(pytest.mark.long)


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
            door=embedded.door,
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
            door=stack.door,
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
    yield from fresh_world(servers, tmp_path)


@pytest.fixture
def embedded_world(embedded_servers: Servers, tmp_path: Path) -> Iterator[World]:
    """The same on the embedded servers alone."""
    yield from fresh_world(embedded_servers, tmp_path)


@pytest.fixture
def stack_world(stack_servers: Servers, tmp_path: Path) -> Iterator[World]:
    """The same on the real servers alone."""
    yield from fresh_world(stack_servers, tmp_path)


def fresh_world(servers: Servers, folder: Path) -> Iterator[World]:
    """A corner of the servers of its own, taken away again in the end."""
    world = new_world(servers, folder)
    try:
        yield world
    finally:
        world.stop_roles()
        for name in servers.names:
            servers.resume(name)
            servers.start(name)
        servers.remove_corner(world.env)
