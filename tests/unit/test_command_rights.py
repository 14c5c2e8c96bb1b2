"""A command that waits for its socket ends with the right to ask for it, and never later than it would be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from bridges.command_rights import NO_RIGHT, OUT_OF_USE, CommandRights
from bridges.dispatcher import Dispatcher
from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.patient_lifecycle import PatientLifecycle
from domain.lifecycle.commands import Command, Order
from domain.lifecycle.devices import DeviceConfiguration
from domain.lifecycle.sockets import NewDevice
from tests.unit.lifecycle_parts import NOW, Parts, cause, forget
from tests.unit.test_dispatcher_burials import PLACE, Link, NoDrift, StandingClock
from tests.waiting import until

ON = Order("switch", relay=True)
CONFIGURE = Order("configure", config=DeviceConfiguration(), config_version=1)


class Door(Link):
    """Nobody is there until it opens."""

    is_open = False

    def reaches(self, _device_id: str) -> bool:
        return self.is_open


class NobodyFails:
    async def bury(self, _event: Any, _value: bytes) -> None: ...


class Home:
    """Ann's, with a kettle, which an operator, a guest and a program may switch."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.parts.sign_up("admin")
        self.ann, self.tenant = self.parts.sign_up("ann")
        self.bob, _ = self.parts.sign_up("bob")
        self.guest, _ = self.parts.sign_up("guest")
        self.parts.tenancy.add_member(self.tenant, self.bob, "operator", cause())
        self.parts.sockets.register(self.tenant, [NewDevice("kettle", "Kettle")], cause())
        self.parts.sockets.share("kettle", self.guest, "manage", cause())
        until_then = NOW + timedelta(days=30)
        issued = self.parts.accounts.issue_api_token(
            self.ann, cause(), label="x", scope="control", expires_at=until_then
        )
        self.token_id, self.token_actor = issued.token_id, f"token:{self.ann}/{issued.token_id}"

    def ask(self, actor: str, order: Order = ON) -> UUID:
        expires_at = NOW + timedelta(days=1)
        command = Command.request("kettle", order, cause(actor), why="user", expires_at=expires_at)
        self.parts.lifecycle.store(command)
        return command.id

    def command(self, command_id: UUID) -> Command:
        return self.parts.lifecycle.load(Command, command_id)

    def reason(self, command_id: UUID) -> str:
        failed: Any = list(self.parts.lifecycle.events.get(command_id))[-1]
        assert isinstance(failed, Command.Failed)
        return failed.reason


@asynccontextmanager
async def dispatching(home: Home, link: Link, *, late: Callable[[], object] = list) -> AsyncIterator[Dispatcher]:
    """With all commands so far read from Kafka, the last ones before what allows them was read from the event store.

    Args:
        late: happens between.
    """
    lifecycle, metrics = home.parts.lifecycle, DispatcherMetrics()
    deciding = PatientLifecycle(lifecycle, threads=2, on_retry=lambda: None)
    dispatcher = Dispatcher(deciding, NobodyFails(), metrics, StandingClock())  # type: ignore[arg-type]
    rights = CommandRights(lifecycle.log_recorder, dispatcher.rights_ended)
    dispatcher.connect(link, NoDrift(), rights)  # type: ignore[arg-type]
    await rights.begin()
    late()
    for one in lifecycle.recorder.select_notifications(1, 1000, topics=[Command.Requested.TOPIC]):
        dispatcher.take(PLACE, one.id, one.state, [("ce_type", one.topic.encode())])
    running = [asyncio.ensure_future(work) for work in (dispatcher.run(), rights.run())]
    try:
        yield dispatcher
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        deciding.close()


def unshare(home: Home) -> None:
    home.parts.sockets.unshare("kettle", home.guest, cause())


def share_less(home: Home) -> None:
    home.parts.sockets.share("kettle", home.guest, "view", cause())


def remove(home: Home) -> None:
    home.parts.tenancy.remove_member(home.tenant, home.bob, cause())


def demote(home: Home) -> None:
    home.parts.tenancy.change_role(home.tenant, home.bob, "viewer", cause())


def forget_guest(home: Home) -> None:
    forget(home.parts, home.guest)


def revoke(home: Home) -> None:
    home.parts.accounts.revoke_api_token(home.ann, home.token_id, cause())


@pytest.mark.parametrize(
    ("end", "asker"),
    [(unshare, "guest"), (share_less, "guest"), (forget_guest, "guest"), (remove, "bob"), (demote, "bob")],
)
async def test_it_ends_while_its_socket_is_away_and_all_others_wait(end: Callable[[Home], None], asker: str) -> None:
    home, link = Home(), Door()
    ids = {name: home.ask(f"user:{user_id}") for name, user_id in vars(home).items() if name in ("ann", "bob", "guest")}
    ids["token"], ids["drift"] = home.ask(home.token_actor), home.ask("system:dispatcher", CONFIGURE)
    ended = ids.pop(asker)
    async with dispatching(home, link) as dispatcher:
        end(home)
        await until(lambda: home.command(ended).terminal)
        assert home.reason(ended) == NO_RIGHT
        link.is_open = True
        dispatcher.presence_changed("kettle")
        await until(lambda: len(link.sent) == len(ids))
        assert {home.command(one).state for one in ids.values()} == {"dispatched"}


async def test_it_ends_with_the_token_of_the_program_that_asked() -> None:
    home, link = Home(), Door()
    by_token, by_ann = home.ask(home.token_actor), home.ask(f"user:{home.ann}")
    async with dispatching(home, link):
        revoke(home)
        await until(lambda: home.command(by_token).terminal)
        assert (home.reason(by_token), home.command(by_ann).state) == (NO_RIGHT, "requested")


async def test_what_has_just_been_allowed_is_sent_though_kafka_was_faster_than_the_log() -> None:
    home, link = Home(), Door()
    link.is_open = True
    asked: list[UUID] = []

    def join() -> None:
        carol, _ = home.parts.sign_up("carol")
        home.parts.tenancy.add_member(home.tenant, carol, "operator", cause())
        asked.append(home.ask(f"user:{carol}"))

    async with dispatching(home, link, late=join):
        await until(lambda: link.sent == ["kettle"])
    assert home.command(asked[0]).state == "dispatched"


async def test_nothing_is_sent_for_somebody_whose_right_ended_before_we_read_of_it() -> None:
    home, link = Home(), Door()
    asked = [home.ask(f"user:{home.bob}"), home.ask(f"user:{home.guest}", CONFIGURE)]
    demote(home)
    home.parts.sockets.share("kettle", home.guest, "switch", cause())
    link.is_open = True
    async with dispatching(home, link):
        await until(lambda: all(home.command(one).terminal for one in asked))
    assert [home.reason(one) for one in asked] == [NO_RIGHT] * 2


@pytest.mark.parametrize("used_again", [False, True])
async def test_all_that_is_open_ends_when_its_socket_is_taken_out_of_use(used_again: bool) -> None:
    home, link = Home(), Door()
    asked = [home.ask(f"user:{home.ann}"), home.ask("system:dispatcher", CONFIGURE), home.ask(home.token_actor)]
    async with dispatching(home, link):
        home.parts.sockets.decommission("kettle", cause(after_s=1))
        if used_again:
            home.parts.sockets.register(home.tenant, [NewDevice("kettle", "Kettle")], cause(after_s=2))
        await until(lambda: all(home.command(one).terminal for one in asked))
    assert {home.reason(one) for one in asked} == {OUT_OF_USE}
    assert link.sent == []
