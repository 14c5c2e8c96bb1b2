"""A command on a network that loses, doubles, reorders and delays: one ending, and the socket acts at most once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.command_wire import encode_command, wire_command
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import MOST_ATTEMPTS, TERMINAL, Command, Order
from domain.wire import CommandReport, decode_status
from ops.simulator.obedience import Obedience

START = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = Order("toggle")


class _Clock:
    """The socket's; it need not agree with the engine's."""

    def __init__(self) -> None:
        self.at_ms = int(START.timestamp() * 1000)

    def now_ms(self) -> int:
        return self.at_ms


class CommandOnABadNetwork(RuleBasedStateMachine):
    """Copies of the command and of its answers lie in bags, from which they come in any order and any number."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.expires_at = START, START + timedelta(seconds=20)
        self.command = Command.request("d1", ORDER, self._cause(), why="user", expires_at=self.expires_at)
        self.payload = encode_command(wire_command(self.command.id, ORDER, self.expires_at))
        self.on_the_way, self.sent = 0, 0
        self.answers: list[CommandReport] = []
        self.acted_at: list[datetime] = []
        self.clock = _Clock()
        self.socket = Obedience(self.clock, lambda _command: self.acted_at.append(self.now))
        self.endings: list[str] = []

    def _cause(self) -> Cause:
        return Cause(self.now, "system:test", "correlation")

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.5, 2.0, 4.0, 8.0, 30.0]) | st.floats(-5, 40))
    def time_passes_or_jumps(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(skew_s=st.sampled_from([0, 0, 0, -3600, -1, 1, 3600]))
    def the_sockets_clock_is_set(self, skew_s: int) -> None:
        self.clock.at_ms = int(self.now.timestamp() * 1000) + skew_s * 1000

    @rule(online=st.booleans(), certain=st.booleans(), unheard_s=st.sampled_from([0, 0, 0.5, 3, 3600]))
    def dispatcher_looks(self, online: bool, certain: bool, unheard_s: float) -> None:
        expired, due = self.now >= self.expires_at, self.now >= self.command.due_at(certain=certain)
        heard_until, due_at, was_sent = self.now - timedelta(seconds=unheard_s), self.command.due_at(), self.sent > 0
        was_open = not self.command.terminal
        if self.command.advance(self._cause(), online=online, certain=certain, heard_until=heard_until):
            assert online
            assert due
            assert not expired
            self.sent += 1
            self.on_the_way += 1
        if was_open and was_sent and self.command.terminal:
            assert heard_until >= (self.expires_at if expired else due_at)

    @precondition(lambda self: self.on_the_way)
    @rule(stays=st.booleans())
    def the_command_arrives_and_may_do_so_again(self, stays: bool) -> None:
        self.on_the_way -= not stays
        answer = self.socket.obey(self.payload)
        assert answer is not None
        report = decode_status(answer)
        assert isinstance(report, CommandReport)
        self.answers.append(report)

    @precondition(lambda self: self.on_the_way)
    @rule()
    def the_command_is_lost(self) -> None:
        self.on_the_way -= 1

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), stays=st.booleans())
    def an_answer_arrives_and_may_do_so_again(self, data: st.DataObject, stays: bool) -> None:
        report = data.draw(st.sampled_from(self.answers))
        if not stays:
            self.answers.remove(report)
        if report.result == "done":
            self.command.acknowledge(self._cause(), relay=report.relay, reported_at=None)
        else:
            self.command.reject(self._cause(), reason=report.reason or "", reported_at=None)

    @precondition(lambda self: self.answers)
    @rule()
    def the_answers_are_lost(self) -> None:
        self.answers.clear()

    @rule()
    def somebody_gives_up(self) -> None:
        self.command.fail(self._cause(), reason="given up")

    @invariant()
    def it_has_at_most_one_ending_and_keeps_it(self) -> None:
        for event in self.command.collect_events():
            state = type(event).TOPIC.removeprefix("wattaway.command-").removesuffix(".v1")  # type: ignore[attr-defined]
            if state in TERMINAL:
                self.endings.append(state)
        assert len(self.endings) <= 1
        assert self.command.terminal == bool(self.endings)
        if self.endings:
            assert self.command.state == self.endings[0]

    @invariant()
    def the_socket_acts_at_most_once_and_only_if_asked(self) -> None:
        assert len(self.acted_at) <= min(self.sent, 1)
        assert self.socket.relay is (not self.acted_at)

    @invariant()
    def it_is_tried_at_most_three_times(self) -> None:
        assert self.command.attempts == self.sent <= MOST_ATTEMPTS

    @invariant()
    def what_is_acknowledged_was_done(self) -> None:
        if self.command.state == "acknowledged":
            assert len(self.acted_at) == 1

    def teardown(self) -> None:
        """However it went: once it has expired and somebody looks, it has ended."""
        self.now = max(self.now, self.expires_at)
        self.command.advance(self._cause(), online=False)
        self.it_has_at_most_one_ending_and_keeps_it()
        assert len(self.endings) == 1


CommandOnABadNetwork.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_a_command_on_a_bad_network = CommandOnABadNetwork.TestCase
