"""What the dispatcher lets a command decide: whether it is to be sent now, and what a socket's answer means."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from domain.clock import to_ms
from domain.errors import Missing
from domain.events import CommandReported
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import Command, State
from domain.lifecycle.lifecycle import Lifecycle


class Advanced(NamedTuple):
    """A command after it was asked what is to be done."""

    send: bool
    attempt: int
    ended: State | None
    due_ms: int
    unheard_due_ms: int
    """If its socket was not heard."""


class Reach(NamedTuple):
    """Whether a command would reach its socket now, and whether the socket itself has said so lately."""

    online: bool
    certain: bool


def advance(cause: Cause, socket: Reach, superseded: bool, heard_until: datetime, command: Command) -> Advanced:
    """Let time pass for a command."""
    online, certain = socket
    send = command.advance(cause, online=online, certain=certain, superseded=superseded, heard_until=heard_until)
    # A moment too early nothing could be decided, so it is rounded up.
    due_ms, unheard_due_ms = to_ms(command.due_at()) + 1, to_ms(command.due_at(certain=False)) + 1
    return Advanced(send, command.attempts, command.state if command.terminal else None, due_ms, unheard_due_ms)


def withdraw(cause: Cause, reason: str, command: Command) -> Advanced:
    """Let a command end that nobody may ask for any more."""
    command.fail(cause, reason=reason)
    due_ms = to_ms(command.due_at())
    return Advanced(False, command.attempts, command.state, due_ms, due_ms)


class Answered(NamedTuple):
    """A command after its socket's answer."""

    ended: State
    is_news: bool
    dispatched_at: datetime | None


def take_answer(
    report: CommandReported, at: datetime, correlation_id: str | None, lifecycle: Lifecycle
) -> Answered | None:
    """Store an answer; None if it answers no command of that device.

    Args:
        correlation_id: the request's; None: it is read from the request.
    """
    try:
        command_id = UUID(report.command_id)
        correlation_id = correlation_id or _correlation_id(lifecycle, command_id)
        cause = Cause(at, f"device:{report.device_id}", correlation_id)
        return lifecycle.change(Command, command_id, lambda command: _decide(report, cause, command))[0]
    except (ValueError, Missing):
        return None


def _decide(report: CommandReported, cause: Cause, command: Command) -> Answered | None:
    # A socket must not end another's commands.
    if command.device_id != report.device_id:
        return None
    is_news = not command.terminal
    if report.result == "done":
        command.acknowledge(cause, relay=report.relay, reported_at=report.reported_at)
    else:
        reason = report.reason or "no reason given"
        command.reject(cause, reason=reason, reported_at=report.reported_at)
    return Answered(command.state, is_news, command.dispatched_at)


def _correlation_id(lifecycle: Lifecycle, command_id: UUID) -> str:
    for event in lifecycle.events.get(command_id, lte=1):
        if isinstance(event, Command.Requested):
            return str(event.correlation_id)
    raise Missing("unknown-command", "no such command")
