"""What the bridge holds back: each message once, in order, bounded, acknowledged only where it came from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from bridges.intake import Intake, Message
from bridges.metrics import BridgeMetrics
from bridges.mqtt_packets import Publish

DATA, STATUS = "devices/d1/data", "devices/d1/status"


class FixedClock:
    def now_ms(self) -> int:
        return 1_764_000_000_000


class LinkSpy:
    """A link that remembers what it was told."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.paused = False

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        self.acknowledged += packet_ids

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


def _intake(max_messages: int = 1000, max_bytes: int = 10**6) -> Intake:
    return Intake(FixedClock(), BridgeMetrics(), max_messages=max_messages, max_bytes=max_bytes)


def _publish(payload: bytes, packet_id: int | None, *, topic: str = DATA, again: bool = False) -> Publish:
    return Publish(topic, payload, packet_id, again, False)


async def _all(intake: Intake) -> list[Message]:
    return await intake.next_batch(linger_s=0, max_messages=1000, max_bytes=10**9)


async def test_messages_come_out_in_the_order_they_came_in() -> None:
    intake, link = _intake(), LinkSpy()
    for number in range(5):
        intake.take(link, _publish(b"%d" % number, number))
    first = await intake.next_batch(linger_s=0, max_messages=3, max_bytes=10**9)
    assert [message.payload for message in [*first, *await _all(intake)]] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_batch_that_is_not_full_waits_for_its_instant_and_a_full_one_does_not() -> None:
    intake, link = _intake(), LinkSpy()
    due_at_s = time.monotonic() + 0.05
    intake.take(link, _publish(b"first", 1))
    gathering = asyncio.create_task(
        intake.next_batch(linger_s=0, max_messages=1000, max_bytes=10**9, full_from=3, not_before_s=due_at_s)
    )
    await asyncio.sleep(0)
    intake.take(link, _publish(b"company", 2))
    assert [message.payload for message in await gathering] == [b"first", b"company"]
    assert time.monotonic() >= due_at_s
    for number in range(3):
        intake.take(link, _publish(b"%d" % number, 10 + number))
    hours_later_s = time.monotonic() + 7200
    async with asyncio.timeout(5):
        full = await intake.next_batch(
            linger_s=0, max_messages=1000, max_bytes=10**9, full_from=3, not_before_s=hours_later_s
        )
    assert len(full) == 3


async def test_closing_ends_the_wait_for_company() -> None:
    intake, link = _intake(), LinkSpy()
    intake.take(link, _publish(b"only", 1))
    hours_later_s = time.monotonic() + 7200
    gathering = asyncio.create_task(
        intake.next_batch(linger_s=0, max_messages=1000, max_bytes=10**9, not_before_s=hours_later_s)
    )
    await asyncio.sleep(0)
    intake.close()
    async with asyncio.timeout(5):
        assert len(await gathering) == 1


async def test_a_batch_ends_at_its_bytes() -> None:
    intake, link = _intake(), LinkSpy()
    for number in range(4):
        intake.take(link, _publish(b"x" * 100, number, topic=f"devices/d{number}/data"))
    assert len(await intake.next_batch(linger_s=0, max_messages=10, max_bytes=150)) == 2


async def test_the_same_delivery_again_is_acknowledged_once() -> None:
    intake, link = _intake(), LinkSpy()
    intake.take(link, _publish(b"r", 7))
    intake.take(link, _publish(b"r", 7, again=True))
    batch = await _all(intake)
    intake.settle(batch)
    assert (len(batch), link.acknowledged) == (1, [7])


async def test_a_redelivery_on_a_new_link_is_acknowledged_there() -> None:
    intake, old, new = _intake(), LinkSpy(), LinkSpy()
    intake.take(old, _publish(b"r", 7))
    batch = await _all(intake)
    intake.take(new, _publish(b"r", 3, again=True))
    intake.take(new, _publish(b"r", 3, again=True))
    intake.settle(batch)
    assert (old.acknowledged, new.acknowledged) == ([7], [3])


async def test_the_same_data_from_another_device_is_another_message() -> None:
    intake, link = _intake(), LinkSpy()
    intake.take(link, _publish(b"r", 1))
    intake.take(link, _publish(b"r", 2, topic="devices/d2/data"))
    assert len(await _all(intake)) == 2


async def test_online_offline_online_stays_three_reports() -> None:
    intake, link = _intake(), LinkSpy()
    for packet_id, payload in enumerate([b"on", b"off", b"on"], start=1):
        intake.take(link, _publish(payload, packet_id, topic=STATUS))
    assert [message.payload for message in await _all(intake)] == [b"on", b"off", b"on"]


async def test_a_report_that_is_redelivered_joins_the_one_under_way() -> None:
    intake, link = _intake(), LinkSpy()
    intake.take(link, _publish(b"on", 1, topic=STATUS))
    intake.take(link, _publish(b"on", 1, topic=STATUS, again=True))
    assert len(await _all(intake)) == 1


async def test_what_comes_after_the_outcome_is_a_new_message() -> None:
    intake, link = _intake(), LinkSpy()
    intake.take(link, _publish(b"r", 1))
    intake.settle(await _all(intake))
    intake.take(link, _publish(b"r", 2))
    intake.settle(await _all(intake))
    assert (link.acknowledged, intake.unsettled) == ([1, 2], 0)


async def test_a_full_intake_stops_reading_and_goes_on_at_half() -> None:
    intake, link = _intake(max_messages=4), LinkSpy()
    for number in range(4):
        intake.take(link, _publish(b"%d" % number, number + 1))
    assert link.paused
    batch = await _all(intake)
    intake.settle(batch[:1])
    assert link.paused
    intake.settle(batch[1:2])
    assert not link.paused


async def test_a_full_intake_by_bytes_lets_no_new_connection_in() -> None:
    intake, link = _intake(max_bytes=100), LinkSpy()
    intake.take(link, _publish(b"x" * 100, 1))
    waiting = asyncio.create_task(intake.has_room())
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    intake.settle(await _all(intake))
    async with asyncio.timeout(5):
        await waiting


async def test_a_full_intake_drops_what_promises_nothing_and_keeps_the_rest() -> None:
    metrics = BridgeMetrics()
    intake, link = Intake(FixedClock(), metrics, max_messages=2), LinkSpy()
    for number in range(3):
        intake.take(link, _publish(b"%d" % number, number + 1))
    intake.take(link, _publish(b"qos 0", None))
    assert [message.payload for message in await _all(intake)] == [b"0", b"1", b"2"]
    assert metrics.registry.get_sample_value("wattaway_bridge_dropped_total") == 1


async def test_a_message_at_qos_0_is_taken_and_needs_no_acknowledgement() -> None:
    intake, link = _intake(), LinkSpy()
    intake.take(link, _publish(b"r", None))
    intake.settle(await _all(intake))
    assert link.acknowledged == []


async def test_a_closed_intake_gives_out_what_it_has_then_nothing() -> None:
    intake, link = _intake(), LinkSpy()
    intake.take(link, _publish(b"1", 1))
    intake.close()
    intake.take(link, _publish(b"2", 2))
    assert [message.payload for message in await _all(intake)] == [b"1"]
    assert await _all(intake) == []


class IntakeMachine(RuleBasedStateMachine):
    """However deliveries, redeliveries, lost links and settlements mix, an id is acknowledged on its own link only,
    never before its message is settled, and at most once per time it was outstanding."""

    links = Bundle("links")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.intake = _intake(max_messages=20)
        self.known: list[LinkSpy] = []
        self.outstanding: dict[LinkSpy, dict[int, bytes]] = {}
        self.held: list[Message] = []
        self.next_id = 0

    def teardown(self) -> None:
        self.loop.close()

    @rule(target=links)
    def connect(self) -> LinkSpy:
        link = LinkSpy()
        self.known.append(link)
        self.outstanding[link] = {}
        return link

    @rule(link=links, payload=st.sampled_from([b"a", b"b", b"c"]))
    def deliver(self, link: LinkSpy, payload: bytes) -> None:
        self.next_id += 1
        self.outstanding[link][self.next_id] = payload
        self.intake.take(link, _publish(payload, self.next_id))

    @rule(link=links, index=st.integers(0, 5))
    def deliver_again(self, link: LinkSpy, index: int) -> None:
        waiting = list(self.outstanding[link].items())
        if waiting:
            packet_id, payload = waiting[index % len(waiting)]
            self.intake.take(link, _publish(payload, packet_id, again=True))

    @rule(count=st.integers(1, 4))
    def gather(self, count: int) -> None:
        if self.intake._waiting:
            batch = self.intake.next_batch(linger_s=0, max_messages=count, max_bytes=10**9)
            self.held += self.loop.run_until_complete(batch)

    @rule()
    def settle(self) -> None:
        before = {link: len(link.acknowledged) for link in self.known}
        self.intake.settle(self.held)
        settled = {message.payload for message in self.held}
        self.held = []
        for link in self.known:
            for packet_id in link.acknowledged[before[link] :]:
                assert self.outstanding[link].pop(packet_id) in settled

    @invariant()
    def nothing_waits_for_ever(self) -> None:
        if not self.held and not self.intake._waiting:
            assert self.intake.unsettled == 0
            assert all(not waiting for waiting in self.outstanding.values())


IntakeMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestIntake = IntakeMachine.TestCase
