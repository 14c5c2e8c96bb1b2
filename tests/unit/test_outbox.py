"""A socket's outbox: nothing is forgotten before its receipt, nothing is sent twice without a reason."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from domain.wire import MAX_PAYLOAD_BYTES
from ops.simulator.outbox import Outbox


def _filled(count: int, resend_after_s: float = 10) -> Outbox:
    outbox = Outbox(resend_after_s)
    for seq in range(count):
        outbox.keep(seq, b"%d" % seq)
    return outbox


def _take_all(outbox: Outbox, now_s: float) -> list[int]:
    taken: list[int] = []
    while (chunk := outbox.take_list(now_s)) is not None:
        numbers = json.loads(chunk[0])
        assert len(numbers) == chunk[1]
        taken.extend(numbers)
    return taken


def test_a_backlog_goes_out_oldest_first_in_lists_of_at_most_500() -> None:
    outbox = _filled(1_203)
    sizes = []
    while (chunk := outbox.take_list(0)) is not None:
        sizes.append(chunk[1])
    assert sizes == [500, 500, 203]


def test_a_list_never_exceeds_the_payload_limit() -> None:
    outbox = Outbox(10)
    for seq in range(500):
        outbox.keep(seq, b'"' + b"x" * 200 + b'"')
    total = 0
    while (chunk := outbox.take_list(0)) is not None:
        assert len(chunk[0]) <= MAX_PAYLOAD_BYTES
        total += chunk[1]
    assert total == 500


def test_a_live_reading_overtakes_the_backlog() -> None:
    outbox = _filled(3)
    assert outbox.take_newest(0) == b"2"
    assert _take_all(outbox, 0) == [0, 1]


def test_what_has_its_receipt_is_never_sent_again() -> None:
    outbox = _filled(5)
    _take_all(outbox, 0)
    assert outbox.settle([(1, 2), (4, 4)]) == 3
    assert outbox.settle([(1, 2)]) == 0
    outbox.mark_connection_lost()
    assert _take_all(outbox, 1) == [0, 3]
    assert len(outbox) == 2


def test_a_lost_receipt_means_the_reading_is_sent_again_after_the_time_out_and_not_before() -> None:
    outbox = _filled(2, resend_after_s=10)
    _take_all(outbox, 100)
    assert outbox.mark_overdue(109.9) == 0
    assert _take_all(outbox, 109.9) == []
    assert outbox.mark_overdue(110) == 2
    assert _take_all(outbox, 110) == [0, 1]
    assert outbox.resent == 2
    assert outbox.mark_overdue(119) == 0


def test_a_receipt_may_name_far_more_than_was_ever_sent() -> None:
    outbox = _filled(4)
    assert outbox.settle([(2, 2**48)]) == 2
    assert sorted(_take_all(outbox, 0)) == [0, 1]


_step = st.one_of(
    st.just(("keep",)),
    st.just(("live",)),
    st.just(("list",)),
    st.just(("lost",)),
    st.just(("overdue",)),
    st.tuples(st.just("settle"), st.integers(0, 30), st.integers(0, 5)),
)


@given(st.lists(_step, max_size=120))
def test_after_any_history_a_reconnection_sends_exactly_what_has_no_receipt(steps: list[tuple[object, ...]]) -> None:
    outbox, kept, settled, now_s = Outbox(3), 0, set(), 0.0
    for name, *numbers in steps:
        now_s += 1
        match name:
            case "keep":
                outbox.keep(kept, b"%d" % kept)
                kept += 1
            case "live":
                outbox.take_newest(now_s)
            case "list":
                outbox.take_list(now_s, most=3)
            case "lost":
                outbox.mark_connection_lost()
            case "overdue":
                outbox.mark_overdue(now_s)
            case _:
                first, width = map(int, map(str, numbers))
                outbox.settle([(first, first + width)])
                settled.update(seq for seq in range(first, first + width + 1) if seq < kept)
    outbox.mark_connection_lost()
    unreceipted = [seq for seq in range(kept) if seq not in settled]
    assert len(outbox) == len(unreceipted)
    assert _take_all(outbox, now_s) == unreceipted
