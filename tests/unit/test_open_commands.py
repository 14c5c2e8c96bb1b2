"""The table of open commands says what is due when, and the watermark where a restart has to begin."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from bridges.hearing import Hearing
from bridges.lanes import Lanes
from bridges.open_commands import MOST_AT_ONCE, OpenCommand, OpenCommands, open_command
from bridges.presence_watch import PresenceWatch
from bridges.watermarks import Watermarks
from domain.clock import to_ms
from domain.command_wire import decode_command
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import MOST_ATTEMPTS, Command, Order
from domain.wire import PresenceReport
from ops.simulator.obedience import REMEMBERED_IDS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = to_ms(NOW)
PLACE = ("lifecycle", 0)


OFF = Order("switch", relay=False)


def _command(
    device_id: str = "d1", offset: int = 0, *, place: tuple[str, int] = PLACE, order: Order = OFF
) -> OpenCommand:
    cause = Cause(NOW, "user:u", "correlation")
    expires_at = NOW + timedelta(seconds=30)
    command = Command.request(device_id, order, cause, why="user", expires_at=expires_at)
    return open_command(command.collect_events()[0], place, offset)


def _table(*commands: OpenCommand) -> OpenCommands:
    table = OpenCommands()
    for command in commands:
        assert table.add(command)
    return table


def test_a_command_is_kept_with_what_its_socket_is_sent() -> None:
    command = _command()
    sent = decode_command(command.payload)
    assert (sent.id, sent.type, sent.relay) == (str(command.id), "switch", False)
    assert (sent.expires_at, command.correlation_id) == (NOW_MS + 30_000, "correlation")


def test_a_socket_that_is_there_is_due_at_once_and_one_that_is_not_when_the_command_expires() -> None:
    command, deaf = _command(), Hearing()
    assert command.wanted_at_ms(online=True, hearing=deaf, now_ms=NOW_MS) == NOW_MS
    assert command.wanted_at_ms(online=False, hearing=deaf, now_ms=NOW_MS) == NOW_MS + 30_001
    command.due_ms = NOW_MS + 99_000
    assert command.wanted_at_ms(online=True, hearing=deaf, now_ms=NOW_MS) == NOW_MS + 30_001
    assert command.wanted_at_ms(online=True, hearing=deaf, now_ms=NOW_MS + 30_001) == NOW_MS + 30_001


def _hearing(since_ms: int, until_ms: int) -> Hearing:
    """Of partition 0, without a gap."""
    hearing = Hearing()
    for at_ms in (*range(since_ms, until_ms, 1000), until_ms):
        hearing.note(0, at_ms)
    return hearing


def test_what_was_said_is_known_only_while_reports_are_read_and_some_time_after_an_outage() -> None:
    assert Hearing().heard_until_ms(0) == 0
    hearing = _hearing(NOW_MS, NOW_MS + 9_999)
    assert hearing.heard_until_ms(0) == 0
    hearing.note(0, NOW_MS + 10_000)
    assert hearing.heard_until_ms(0) == NOW_MS + 9_000
    hearing.note(0, NOW_MS + 12_001)
    assert hearing.heard_until_ms(0) == 0
    hearing = _hearing(NOW_MS, NOW_MS + 10_000)
    hearing.note(0, NOW_MS + 5_000)
    assert hearing.heard_until_ms(0) == 0
    assert _hearing(NOW_MS, NOW_MS + 10_000).heard_until_ms(1) == 0


def test_a_command_that_was_sent_ends_only_once_its_sockets_silence_is_certain() -> None:
    command, now_ms = _command(), NOW_MS + 14_001
    command.due_ms, command.attempts = now_ms, MOST_ATTEMPTS
    calm = _hearing(NOW_MS, now_ms + 1000)
    assert command.wanted_at_ms(online=True, hearing=calm, now_ms=now_ms) == now_ms
    calm = _hearing(NOW_MS, now_ms)
    assert now_ms < command.wanted_at_ms(online=True, hearing=calm, now_ms=now_ms) < now_ms + 2_000
    lately = _hearing(now_ms - 1_000, now_ms)
    assert now_ms + 9_000 <= command.wanted_at_ms(online=True, hearing=lately, now_ms=now_ms) < now_ms + 10_000
    assert command.wanted_at_ms(online=True, hearing=Hearing(), now_ms=now_ms) == now_ms + 1_000
    gone_ms = NOW_MS + 60_000
    assert command.wanted_at_ms(online=False, hearing=calm, now_ms=gone_ms) == gone_ms + 1_000


def test_a_command_that_was_sent_is_sent_again_whatever_can_be_heard() -> None:
    command, now_ms = _command(), NOW_MS + 2_001
    command.due_ms, command.attempts = now_ms, 1
    assert command.wanted_at_ms(online=True, hearing=Hearing(), now_ms=now_ms) == now_ms
    command.superseded = True
    assert command.wanted_at_ms(online=True, hearing=Hearing(), now_ms=now_ms) > now_ms


def test_the_last_attempt_waits_for_a_socket_that_was_not_heard() -> None:
    command = _command()
    command.due_ms, command.unheard_due_ms = NOW_MS + 2_000, NOW_MS + 22_000
    wanted = [command.wanted_at_ms(online=True, certain=one, hearing=Hearing(), now_ms=NOW_MS) for one in (True, False)]
    assert wanted == [NOW_MS + 2_000, NOW_MS + 22_000]


def test_what_is_due_comes_in_the_order_of_time_and_once() -> None:
    first, second, third = (_command(offset=number) for number in range(3))
    table = _table(first, second, third)
    table.wake_at(second, NOW_MS + 10)
    table.wake_at(third, NOW_MS + 20)
    table.wake_at(first, NOW_MS + 5)
    assert table.take_due(NOW_MS + 4) == []
    assert table.take_due(NOW_MS + 10) == [first, second]
    assert (table.take_due(NOW_MS + 10), table.next_wake_ms()) == ([], NOW_MS + 20)


def test_a_later_word_counts_instead_of_an_earlier_one() -> None:
    command = _command()
    table = _table(command)
    table.wake_at(command, NOW_MS + 5)
    table.wake_at(command, NOW_MS + 50)
    assert table.take_due(NOW_MS + 49) == []
    table.wake_at(command, NOW_MS + 7)
    assert table.take_due(NOW_MS + 7) == [command]
    assert table.take_due(NOW_MS + 50) == []


def test_what_has_ended_is_never_due() -> None:
    command = _command()
    table = _table(command)
    table.wake_at(command, NOW_MS)
    assert table.remove(command.id) is command
    assert (table.take_due(NOW_MS), table.next_wake_ms(), len(table)) == ([], None, 0)
    assert table.remove(command.id) is None
    table.wake_at(command, NOW_MS)
    assert table.next_wake_ms() is None


def test_the_first_answer_of_its_own_socket_counts() -> None:
    command = _command()
    table = _table(command)
    assert not table.note_answer("d2", str(command.id))
    assert not table.note_answer("d1", "no-uuid")
    assert table.note_answer("d1", str(command.id))
    assert not table.note_answer("d1", str(command.id))


def test_a_request_that_is_read_twice_is_kept_once() -> None:
    command = _command()
    table = _table(command)
    assert not table.add(command)
    assert table.of_device("d1") == [command]


def test_a_later_request_for_the_relay_supersedes_the_earlier_ones_of_that_socket() -> None:
    off, blink, other = _command("d1", 0), _command("d1", 1, order=Order("identify")), _command("d2", 2)
    table = _table(off, blink, other)
    assert not off.superseded
    table.add(later := _command("d1", 3, order=Order("toggle")))
    assert [command.superseded for command in (off, blink, other, later)] == [True, False, False, False]
    table.add(_command("d1", 4, order=Order("toggle")))
    assert not later.superseded
    table.add(_command("d1", 5))
    assert later.superseded


def test_commands_of_a_device_come_in_the_order_of_their_requests() -> None:
    commands = [_command(offset=number) for number in range(5)]
    table = _table(*commands, _command("d2", 9))
    assert table.of_device("d1") == commands
    assert table.of_device("nobody") == []


def test_a_socket_remembers_more_commands_than_it_is_sent_at_once() -> None:
    assert MOST_AT_ONCE < REMEMBERED_IDS


def test_the_oldest_of_a_socket_are_in_turn_and_the_next_one_when_one_of_them_has_ended() -> None:
    commands = [_command(offset=offset) for offset in range(MOST_AT_ONCE + 3)]
    other = _command("d2")
    table = _table(*commands, other)
    assert [command.in_turn for command in commands] == [True] * MOST_AT_ONCE + [False] * 3
    assert other.in_turn
    assert table.next_in_turn("d1") is None
    table.remove(commands[-1].id)
    assert table.next_in_turn("d1") is None
    table.remove(commands[5].id)
    assert table.next_in_turn("d1") is commands[MOST_AT_ONCE]
    assert table.next_in_turn("d1") is None
    assert table.next_in_turn("d3") is None


def test_sockets_that_come_and_go_do_not_fill_the_memory() -> None:
    command = _command()
    table = _table(command)
    for number in range(10_000):
        table.wake_at(command, NOW_MS + 1 + number % 2)
    assert len(table._wakes) < 200
    assert table.take_due(NOW_MS + 2) == [command]


def test_the_watermark_is_the_oldest_record_under_way() -> None:
    marks = Watermarks()
    for offset in (3, 5, 7):
        marks.begin(PLACE, offset)
    marks.reached(PLACE, 9)
    assert marks.positions() == {PLACE: 3}
    marks.done(PLACE, 5)
    assert marks.positions() == {PLACE: 3}
    marks.done(PLACE, 3)
    assert marks.positions() == {PLACE: 7}
    marks.done(PLACE, 7)
    assert marks.positions() == {PLACE: 9}
    marks.forget([PLACE])
    marks.done(PLACE, 7)
    assert marks.positions() == {}


def test_what_a_broker_kept_makes_a_socket_online_but_not_certain() -> None:
    watch = PresenceWatch()
    watch.note("d1", PresenceReport(True), kept=True)
    assert (watch.is_online("d1"), watch.is_certain("d1")) == (True, False)
    watch.note_answer("d1")
    watch.note_answer("d2")
    assert (watch.is_certain("d1"), watch.is_certain("d2")) == (True, False)
    watch.note("d2", PresenceReport(True))
    assert watch.is_certain("d2")
    watch.note("d2", PresenceReport(False))
    watch.note("d2", PresenceReport(True), kept=True)
    assert not watch.is_certain("d2")
    watch.clear()
    assert not watch.is_certain("d1")


def test_a_socket_that_went_or_was_not_heard_of_is_not_online() -> None:
    watch = PresenceWatch()
    watch.note("d1", PresenceReport(True, config=4))
    assert (watch.is_online("d1"), watch.config_of("d1"), watch.is_online("d2")) == (True, 4, False)
    watch.note("d1", PresenceReport(False))
    assert (watch.is_online("d1"), watch.config_of("d1"), watch.online()) == (False, None, [])


async def test_one_devices_jobs_follow_one_another_while_others_go_on() -> None:
    lanes, done, gate = Lanes(2, most_waiting=4), list[str](), asyncio.Event()

    async def job(name: str, waits: bool = False) -> None:
        if waits:
            await gate.wait()
        if name == "broken":
            raise ValueError("a defect")
        done.append(name)

    for lane, name, waits in (("a", "a1", True), ("a", "a2", False), ("b", "broken", False), ("b", "b2", False)):
        lanes.put(lane, lambda name=name, waits=waits: job(name, waits))  # type: ignore[misc]
    working = asyncio.ensure_future(lanes.run())
    async with asyncio.timeout(5):
        while done != ["b2"]:
            await asyncio.sleep(0)
        gate.set()
        await lanes.idle()
        await lanes.has_room()
    assert done == ["b2", "a1", "a2"]
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
