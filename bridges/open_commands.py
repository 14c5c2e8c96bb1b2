"""The commands that have not ended yet, by id, by device and by when something is to be decided about them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bridges.hearing import Hearing
from bridges.watermarks import Place
from domain.clock import to_ms
from domain.command_wire import encode_command, wire_command
from domain.lifecycle.commands import MOST_ATTEMPTS, Command, CommandType, supersedes

MOST_AT_ONCE = 32
"""So many open commands of a socket are sent, the others wait: it remembers 64, so none comes again that it forgot."""


@dataclass(eq=False)
class OpenCommand:
    """One command and the record that asked for it.

    Args:
        payload: what its socket is sent.
        due_ms: when something is to be decided if its socket is online; before it expires nothing is, if it is not.
        unheard_due_ms: the same of a socket that only the broker says is there.
    """

    id: UUID
    device_id: str
    type: CommandType
    place: Place
    offset: int
    payload: bytes
    requested_at: datetime
    expires_at_ms: int
    correlation_id: str
    actor: str
    due_ms: int
    unheard_due_ms: int
    wake_ms: int | None = None
    enqueued: bool = False
    in_turn: bool = False
    """Whether it is one of its socket's oldest, `MOST_AT_ONCE`."""
    superseded: bool = False
    """Whether a later request makes this one wrong to send again."""
    answered: bool = False
    """Whether its socket's answer is being stored."""
    attempts: int = 0
    """As far as we know: what another dispatcher sent, only the aggregate knows."""

    def wanted_at_ms(self, *, online: bool, hearing: Hearing, now_ms: int, certain: bool = True) -> int:
        """When to look at it again."""
        at_ms = self.expires_at_ms
        if online and now_ms < self.expires_at_ms:
            at_ms = min(self.due_ms if certain else self.unheard_due_ms, self.expires_at_ms)
        ends = at_ms == self.expires_at_ms or self.attempts == MOST_ATTEMPTS or self.superseded
        if not self.attempts or not ends or at_ms > now_ms:
            return at_ms
        return hearing.look_again_ms(self.place[1], at_ms, now_ms)


def open_command(event: Command.Requested, place: Place, offset: int) -> OpenCommand:
    """What a request asks for, as it is to be kept."""
    requested_at: datetime = event.timestamp
    return OpenCommand(
        id=event.originator_id,
        device_id=event.device_id,
        type=event.order.type,
        place=place,
        offset=offset,
        payload=encode_command(wire_command(event.originator_id, event.order, event.expires_at)),
        requested_at=requested_at,
        # Rounded up: a moment too early nothing could be decided.
        expires_at_ms=to_ms(event.expires_at) + 1,
        correlation_id=event.correlation_id,
        actor=event.actor,
        due_ms=to_ms(requested_at),
        unheard_due_ms=to_ms(requested_at),
    )


class OpenCommands:
    """The table."""

    def __init__(self) -> None:
        self._by_id: dict[UUID, OpenCommand] = {}
        self._by_device: dict[str, dict[UUID, OpenCommand]] = {}
        self._wakes: list[tuple[int, int, OpenCommand]] = []
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, command: OpenCommand) -> bool:
        """Keep a command; False if it is kept already."""
        if command.id in self._by_id:
            return False
        for earlier in self.of_device(command.device_id):
            earlier.superseded = earlier.superseded or supersedes(command.type, earlier.type)
        self._by_id[command.id] = command
        of_device = self._by_device.setdefault(command.device_id, {})
        command.in_turn = len(of_device) < MOST_AT_ONCE
        of_device[command.id] = command
        return True

    def find(self, command_id: str) -> OpenCommand | None:
        """The one that a socket calls so."""
        with suppress(ValueError):
            return self._by_id.get(UUID(command_id))
        return None

    def note_answer(self, device_id: str, command_id: str) -> bool:
        """Whether this is the first answer to an open command: now time decides nothing about that one any more."""
        command = self.find(command_id)
        if command is None or command.device_id != device_id or command.answered:
            return False
        command.answered = True
        return True

    def holds(self, command: OpenCommand) -> bool:
        """Whether it is this very one that is kept under its id."""
        return self._by_id.get(command.id) is command

    def remove(self, command_id: UUID) -> OpenCommand | None:
        """Forget a command that has ended; None if it is not kept."""
        command = self._by_id.pop(command_id, None)
        if command is not None:
            command.wake_ms = None
            of_device = self._by_device[command.device_id]
            del of_device[command_id]
            if not of_device:
                del self._by_device[command.device_id]
        return command

    def next_in_turn(self, device_id: str) -> OpenCommand | None:
        """The command whose turn it is now that an older one of the device has ended."""
        waiting = enumerate(self._by_device.get(device_id, {}).values())
        place, command = next(((place, one) for place, one in waiting if not one.in_turn), (MOST_AT_ONCE, None))
        if command is None or place >= MOST_AT_ONCE:
            return None
        command.in_turn = True
        return command

    def of_device(self, device_id: str) -> list[OpenCommand]:
        """A device's commands in the order of their requests."""
        return list(self._by_device.get(device_id, {}).values())

    def all(self) -> list[OpenCommand]:
        """All of them."""
        return list(self._by_id.values())

    def of_places(self, places: Iterable[Place]) -> list[OpenCommand]:
        """All commands of these partitions."""
        wanted = set(places)
        return [command for command in self._by_id.values() if command.place in wanted]

    def clear(self) -> None:
        """Forget all of them."""
        for command_id in list(self._by_id):
            self.remove(command_id)

    # --- time -------------------------------------------------------------------------------------------

    def wake_at(self, command: OpenCommand, at_ms: int) -> None:
        """`take_due` gives it from `at_ms` on, instead of when was said before."""
        if self.holds(command) and command.wake_ms != at_ms:
            command.wake_ms = at_ms
            heapq.heappush(self._wakes, (at_ms, next(self._count), command))
            self._shed()

    def next_wake_ms(self) -> int | None:
        """When `take_due` gives something; None: not before something is said."""
        self._drop_stale()
        return self._wakes[0][0] if self._wakes else None

    def take_due(self, now_ms: int) -> list[OpenCommand]:
        """The commands whose time has come, the longest due first."""
        due: list[OpenCommand] = []
        while (wake_ms := self.next_wake_ms()) is not None and wake_ms <= now_ms:
            command = heapq.heappop(self._wakes)[2]
            command.wake_ms = None
            due.append(command)
        return due

    def _drop_stale(self) -> None:
        while self._wakes and self._wakes[0][2].wake_ms != self._wakes[0][0]:
            heapq.heappop(self._wakes)

    def _shed(self) -> None:
        """Sockets that come and go must not make the heap grow without bounds."""
        if len(self._wakes) > 2 * len(self._by_id) + 64:
            self._wakes = [entry for entry in self._wakes if entry[2].wake_ms == entry[0]]
            heapq.heapify(self._wakes)
