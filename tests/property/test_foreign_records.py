"""Whatever stands in the log, folding it raises nothing: what is no event of ours becomes a dead letter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import EVENT_TYPES, PresenceChanged, ReadingRecorded, reading_record, report_record
from domain.lifecycle.commands import Command
from domain.lifecycle.devices import Device
from projections.folds import PROJECTED_TOPICS, fold_records
from projections.lifecycle_audit import LifecycleAudit
from projections.tables import read_model
from tests.projection_records import T0_MS, StoredRecord, presence, reading

_TYPES = [name.encode() for name in (*EVENT_TYPES.values(), Command.Failed.TOPIC, Device.Registered.TOPIC)]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_RIGHT = [report_record(presence()).value, reading_record(reading()).value]


def _values() -> st.SearchStrategy[bytes | None]:
    changed = st.builds(_with_member, st.sampled_from(_RIGHT), st.sampled_from(["x", "at", "boot", "config"]), _JSON)
    spoiled = st.builds(lambda value, junk: value[:-1] + b',"x":"' + junk + b'"}', st.sampled_from(_RIGHT), st.binary())
    return st.none() | st.binary(max_size=50) | changed | spoiled


def _with_member(value: bytes, name: str, content: Any) -> bytes:
    return json.dumps(json.loads(value) | {name: content}).encode()


_headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_type", "ce_id", "ce_source", ""]),
        st.none() | st.sampled_from(_TYPES) | st.binary(max_size=9),
    ),
    max_size=4,
)
_records = st.builds(
    StoredRecord, st.just(7), st.just(T0_MS), st.none() | st.binary(max_size=9), _values(), _headers.map(tuple)
)


@given(topic=st.sampled_from(PROJECTED_TOPICS), record=_records)
def test_no_record_ends_the_fold(topic: str, record: StoredRecord) -> None:
    folded = fold_records({(topic, 0): [record]})
    assert folded.next_offsets == {(topic, 0): 8}
    LifecycleAudit(topic, read_model()).look_ahead({(topic, 0): [record]})


@pytest.mark.parametrize("event", [reading(), presence()])
def test_bytes_that_are_no_text_in_a_member_that_we_do_not_know_are_a_dead_letter(
    event: ReadingRecorded | PresenceChanged,
) -> None:
    right = reading_record(event) if isinstance(event, ReadingRecorded) else report_record(event)
    spoiled = right.value[:-1] + b',"surprise":"\xff"}'
    folded = fold_records({(right.topic, 0): [StoredRecord(0, T0_MS, right.key, spoiled, tuple(right.headers))]})
    (letter,) = folded.dead_letters
    assert letter[-1] == spoiled
    assert not folded.readings
    assert not folded.reports
