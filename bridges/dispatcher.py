"""Sees every command to its one ending: sends it when its socket is there, takes the answer, lets time pass.

It decides nothing itself: the `Command` aggregate does, so whatever is read twice, comes late or is done by two
dispatchers at once leaves one ending.

An answer is heard twice: over MQTT as the socket says it, and in the log, where it stands even if nobody listened. The
first one counts. While the log cannot be read, nobody's silence ends a command (`hearing.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import structlog

from bridges.answers import Answers
from bridges.command_decisions import Advanced, Reach, advance, withdraw
from bridges.command_link import CommandLink
from bridges.command_rights import CommandRights
from bridges.configuration_drift import ConfigurationDrift
from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.failed_commands import FailedCommands
from bridges.hearing import ON_ITS_WAY_MS, Hearing
from bridges.lanes import Lanes
from bridges.open_commands import OpenCommand, OpenCommands, open_command
from bridges.patient_lifecycle import PatientLifecycle
from bridges.watermarks import Place, Watermarks
from domain.clock import Clock, to_instant, to_ms
from domain.errors import DependencyUnavailable, EventRejected
from domain.events import EVENT_TYPES, CommandReported, Header, decode_event
from domain.from_wire import report_of
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import Command
from domain.lifecycle.devices import Device
from domain.lifecycle.mapping import decode_lifecycle_event
from domain.wire import CommandReport

log = structlog.get_logger()

MOST_OPEN = 100_000
WORKERS = 8
_ENDINGS = (Command.Acknowledged, Command.Rejected, Command.Expired)
_SAME_AGAIN_MS = 10
_ASK_AGAIN_MS = 1_000
_LONGEST_WAIT_S = 60.0

Handler = Callable[[Place, int, bytes, Sequence[Header]], None]
OnStep = Callable[[str], None]


class Dispatcher:
    """Takes records in their order, and what MQTT says of presence.

    Args:
        failed: gets every command that has failed.
        on_step: told each step done, for tests that kill this process between two of them.
    """

    def __init__(
        self,
        deciding: PatientLifecycle,
        failed: FailedCommands,
        metrics: DispatcherMetrics,
        clock: Clock,
        *,
        on_step: OnStep = lambda _step: None,
    ) -> None:
        self._deciding, self._failed, self._metrics, self._clock = deciding, failed, metrics, clock
        self._on_step = on_step
        self.commands, self.watermarks, self.lanes = OpenCommands(), Watermarks(), Lanes(WORKERS)
        # Not in a socket's lane: while Kafka is away, burials would keep all workers from deciding about answers.
        self._burials = Lanes(1)
        self._hearing = Hearing()
        self._answers = Answers(deciding, metrics, clock, on_step)
        self._catching_up: set[Place] = set()
        self._sooner = asyncio.Event()
        self._handlers: dict[bytes, Handler] = {
            Command.Requested.TOPIC.encode(): self._requested,
            Command.Failed.TOPIC.encode(): self._has_failed,
            Device.Configured.TOPIC.encode(): self._configured,
            EVENT_TYPES[CommandReported].encode(): self._reported,
            **{ending.TOPIC.encode(): partial(self._has_ended, ending.TOPIC) for ending in _ENDINGS},
        }

    def connect(self, link: CommandLink, drift: ConfigurationDrift, rights: CommandRights) -> None:
        """Who tells of presence and sends, who compares configurations, and who knows what people may do."""
        self._link, self._drift, self._rights = link, drift, rights

    @property
    def is_full(self) -> bool:
        """Whether no more requests should be read for now."""
        return len(self.commands) >= MOST_OPEN

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.lanes.run())
            tasks.create_task(self._burials.run())
            tasks.create_task(self._keep_time())

    # --- what is read -----------------------------------------------------------------------------------

    def take(self, place: Place, offset: int, value: bytes | None, headers: Sequence[Header]) -> None:
        """The next record of a partition."""
        ce_type = next((content for name, content in headers if name == "ce_type"), b"")
        handler = self._handlers.get(ce_type)
        if handler is None or value is None:
            return
        try:
            handler(place, offset, value, headers)
        except EventRejected as error:
            # The projector makes a dead letter of it.
            log.warning("record not readable", place=place, offset=offset, reason=str(error)[:200])

    def catching_up(self, places: Iterable[Place]) -> None:
        """These partitions are read from an older offset on: what they ask for may have ended long since."""
        self._catching_up = set(places)

    def caught_up(self, place: Place) -> None:
        """From now on this partition's records are news: see to what is open."""
        self._catching_up.discard(place)
        for command in self.commands.of_places((place,)):
            self._see_to(command)

    def heard_all(self, partition: int) -> None:
        """All reports that stand in this partition have been taken."""
        if self._link.answers:
            self._hearing.note(partition, self._clock.now_ms())

    def knows_all_of(self, place: Place) -> bool:
        return place not in self._catching_up

    def forget(self) -> None:
        """The partitions may be others' now; what is open will be read again by whoever has them."""
        self.watermarks.forget(list(self.watermarks.positions()))
        self.commands.clear()
        self._hearing.forget()
        self._drift.forget()
        self._metrics.open.set(0)

    def _requested(self, place: Place, offset: int, value: bytes, _headers: Sequence[Header]) -> None:
        command = open_command(decode_lifecycle_event(Command.Requested.TOPIC, value), place, offset)
        if not self.commands.add(command):
            return
        self.watermarks.begin(place, offset)
        self._metrics.open.set(len(self.commands))
        self._on_step("request read")
        if self.knows_all_of(place):
            self._see_to(command)

    def _has_ended(self, topic: str, _place: Place, _offset: int, value: bytes, _headers: Sequence[Header]) -> None:
        self._end(decode_lifecycle_event(topic, value).originator_id)

    def _has_failed(self, place: Place, offset: int, value: bytes, _headers: Sequence[Header]) -> None:
        event = decode_lifecycle_event(Command.Failed.TOPIC, value)
        self._end(event.originator_id)
        self.watermarks.begin(place, offset)
        self._burials.put(event.device_id, partial(self._bury, event, value, place, offset))

    def _configured(self, _place: Place, _offset: int, value: bytes, _headers: Sequence[Header]) -> None:
        event = decode_lifecycle_event(Device.Configured.TOPIC, value)
        self._drift.configured(event.device_id, event.config_version)

    def _reported(self, place: Place, offset: int, value: bytes, headers: Sequence[Header]) -> None:
        report = decode_event(value, list(headers))
        if not isinstance(report, CommandReported):
            return
        self._on_step("answer read")
        if not self._answers.has_taken(report):
            self.commands.note_answer(report.device_id, report.command_id)
            self.watermarks.begin(place, offset)
            self.lanes.put(report.device_id, partial(self._answer_in_log, report, place, offset))

    def answer_heard(self, device_id: str, report: CommandReport) -> None:
        """A socket has answered, over MQTT; who does not have its command leaves it to the log."""
        if self.commands.note_answer(device_id, report.command):
            said = report_of(device_id, report, received_at_ms=self._clock.now_ms())
            if isinstance(said, CommandReported):
                self.lanes.put(device_id, partial(self._answer, said))

    def presence_changed(self, device_id: str) -> None:
        """A socket has come or gone: its commands are due, or wait."""
        self._metrics.online.set(len(self._link.presence))
        for command in self.commands.of_device(device_id):
            self._see_to(command)
        self._drift.look(device_id)

    def broker_goes_on(self) -> None:
        """Commands that waited for a broker that stood still are due, unless the answer is just coming."""
        not_before_ms = self._clock.now_ms() + ON_ITS_WAY_MS
        for command in self.commands.all():
            self._see_to(command, not_before_ms=not_before_ms)

    def rights_ended(self) -> None:
        """Somebody may do less than before: what they asked for and is open ends."""
        for command in self.commands.all():
            if self._rights.objection(command) is not None:
                self._see_to(command)

    # --- what is due ------------------------------------------------------------------------------------

    def _see_to(self, command: OpenCommand, *, not_before_ms: int = 0) -> None:
        """Decide about a command now, or when it is time."""
        if not self.knows_all_of(command.place):
            return
        now_ms = self._clock.now_ms()
        at_ms = max(self._wanted_at_ms(command, now_ms), not_before_ms)
        if at_ms <= now_ms:
            self._enqueue(command)
        else:
            self.commands.wake_at(command, at_ms)
            self._sooner.set()

    def _wanted_at_ms(self, command: OpenCommand, now_ms: int) -> int:
        if self._rights.objection(command) is not None:
            return now_ms
        online, certain = self._reach(command)
        return command.wanted_at_ms(online=online, certain=certain, hearing=self._hearing, now_ms=now_ms)

    def _reach(self, command: OpenCommand) -> Reach:
        online = command.in_turn and self._link.reaches(command.device_id)
        return Reach(online, self._link.has_said_it_is_there(command.device_id))

    def _enqueue(self, command: OpenCommand) -> None:
        if not command.enqueued:
            command.enqueued = True
            self.lanes.put(command.device_id, partial(self._advance, command))

    async def _keep_time(self) -> None:
        while True:
            self._sooner.clear()
            for command in self.commands.take_due(self._clock.now_ms()):
                self._see_to(command)
            wake_ms, wait_s = self.commands.next_wake_ms(), _LONGEST_WAIT_S
            if wake_ms is not None:
                wait_s = min(wait_s, max(wake_ms - self._clock.now_ms(), 0) / 1000)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._sooner.wait()

    # --- what is decided --------------------------------------------------------------------------------

    async def _advance(self, command: OpenCommand) -> None:
        command.enqueued = False
        now_ms = self._clock.now_ms()
        if command.answered or not self.commands.holds(command):
            return
        if self._wanted_at_ms(command, now_ms) > now_ms:
            self._see_to(command)
            return
        try:
            objection = await self._rights.confirmed_objection(command)
        except DependencyUnavailable:
            self._see_to(command, not_before_ms=now_ms + _ASK_AGAIN_MS)
            return
        # The asking process's clock may be ahead of ours: nothing is done before it was asked for.
        cause = Cause(max(to_instant(now_ms), command.requested_at), "system:dispatcher", command.correlation_id)
        heard_until = to_instant(self._hearing.heard_until_ms(command.place[1]))
        decide = partial(advance, cause, self._reach(command), command.superseded, heard_until)
        if objection is not None:
            decide = partial(withdraw, cause, objection)
        try:
            advanced = await self._deciding.change(Command, command.id, decide)
        except Exception:
            # Nothing that is tried again would help: it must not keep all later ones from being done with.
            self._end(command.id)
            raise
        command.due_ms, command.unheard_due_ms = advanced.due_ms, advanced.unheard_due_ms
        command.attempts = advanced.attempt
        if advanced.send:
            self._on_step("dispatch stored")
            self._send(command, advanced)
        if advanced.ended is None:
            self._see_to(command, not_before_ms=now_ms + _SAME_AGAIN_MS)
        elif self._end(command.id):
            self._metrics.ended.labels(advanced.ended).inc()

    def _send(self, command: OpenCommand, advanced: Advanced) -> None:
        if not self._link.send(command.device_id, command.payload):
            log.warning("command not sent", command_id=str(command.id), attempt=advanced.attempt)
            return
        self._on_step("command published")
        self._metrics.dispatched.inc()
        if advanced.attempt == 1:
            waited_ms = self._clock.now_ms() - to_ms(command.requested_at)
            self._metrics.requested_to_dispatched.observe(max(waited_ms, 0) / 1000)

    async def _answer_in_log(self, report: CommandReported, place: Place, offset: int) -> None:
        with self.watermarks.finishing(place, offset):
            await self._answer(report)

    async def _answer(self, report: CommandReported) -> None:
        command = self.commands.find(report.command_id)
        try:
            await self._answers.take(report, None if command is None else command.correlation_id)
        finally:
            if command is not None and command.device_id == report.device_id:
                # Also after a defect, so that later ones are done with.
                self._end(command.id)

    async def _bury(self, event: Command.Failed, value: bytes, place: Place, offset: int) -> None:
        with self.watermarks.finishing(place, offset):
            await self._failed.bury(event, value)

    def _end(self, command_id: UUID) -> bool:
        """A command needs nothing more; whether it was open until now."""
        command = self.commands.remove(command_id)
        if command is None:
            return False
        self.watermarks.done(command.place, command.offset)
        self._metrics.open.set(len(self.commands))
        if command.type == "configure":
            self._drift.command_ended(command.device_id)
        if (waiting := self.commands.next_in_turn(command.device_id)) is not None:
            self._see_to(waiting)
        return True
