"""The wire is what the golden examples say, for the domain's codecs and for what the bridge makes of a message."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bridges.intake import Message
from bridges.mqtt_packets import Publish
from bridges.translation import Translated, Translator
from domain.command_wire import decode_command, encode_command
from domain.data_payload import decode_data
from domain.errors import PayloadRejected
from domain.events import DeadLettered, ReadingRecorded, decode_event
from domain.ranges import to_ranges
from domain.wire import (
    CommandReport,
    DeviceEventReport,
    PresenceReport,
    WireReading,
    commands_topic,
    data_topic,
    decode_receipt,
    decode_status,
    encode_data,
    encode_receipt,
    encode_status,
    receipts_topic,
)
from tests.golden_examples import golden, payload_of

DATA, STATUS, RECEIPTS, COMMANDS = (golden(kind) for kind in ("data", "status", "receipts", "commands"))
TIMES = {"received_at_ms": DATA["received_at_ms"], "max_age_ms": DATA["max_age_ms"]}
REPORTS = {"presence": PresenceReport, "command": CommandReport, "event": DeviceEventReport}


def _named(file: dict[str, Any], *keys: str) -> list[Any]:
    return [
        pytest.param(one, id=one["name"]) for one in file["examples"] if not keys or any(key in one for key in keys)
    ]


class _NoLink:
    def acknowledge(self, packet_ids: object) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


def _translate(example: dict[str, Any]) -> Translated:
    publish = Publish(example["topic"], payload_of(example), 1, False, False)
    message = Message(_NoLink(), publish, DATA["received_at_ms"])
    return Translator(max_age_ms=DATA["max_age_ms"]).translate([message])


@pytest.mark.parametrize("example", _named(DATA, "readings"))
def test_data_decodes_to_what_the_example_says(example: dict[str, Any]) -> None:
    decoded = decode_data(payload_of(example), **TIMES)
    assert decoded.readings == [WireReading(**reading) for reading in example["readings"]]
    got = [
        {"reason": one.error.reason} | ({} if one.boot is None else {"boot": one.boot, "seq": one.seq})
        for one in decoded.rejected
    ]
    assert got == example["rejected"]


@pytest.mark.parametrize("example", _named(DATA))
def test_the_bridge_makes_of_data_what_the_example_says(example: dict[str, Any]) -> None:
    translated = _translate(example)
    events = [decode_event(record.value, record.headers) for record in translated.records]
    taken = [(event.boot, event.seq) for event in events if isinstance(event, ReadingRecorded)]
    letters = [event for event in events if isinstance(event, DeadLettered)]
    if "reason" in example:
        assert (taken, [letter.reason for letter in letters]) == ([], [example["reason"]])
        assert letters[0].raw_bytes() == payload_of(example)
        return
    identified = [(one["boot"], one["seq"]) for one in example["rejected"] if "boot" in one]
    assert taken == [(reading["boot"], reading["seq"]) for reading in example["readings"]]
    assert [letter.reason for letter in letters] == [one["reason"] for one in example["rejected"]]
    assert translated.settled == [("d32131", *identity) for identity in [*taken, *identified]]


@pytest.mark.parametrize("example", _named(STATUS, "report"))
def test_a_status_decodes_to_what_the_example_says(example: dict[str, Any]) -> None:
    report = decode_status(payload_of(example))
    assert report == REPORTS[example["kind"]](**example["report"])
    assert decode_status(encode_status(report)) == report
    assert _translate(example).reports == 1


@pytest.mark.parametrize("example", _named(STATUS, "reason"))
def test_a_wrong_status_is_refused_for_the_reason_in_the_example(example: dict[str, Any]) -> None:
    with pytest.raises(PayloadRejected) as refused:
        decode_status(payload_of(example))
    assert refused.value.reason == example["reason"]
    assert dict(_translate(example).rejected) == {example["reason"]: 1}


@pytest.mark.parametrize("example", _named(RECEIPTS))
def test_a_receipt_reads_and_writes_as_in_the_example(example: dict[str, Any]) -> None:
    receipt = decode_receipt(payload_of(example))
    assert [seq for first, last in receipt.ranges for seq in range(first, last + 1)] == example["seqs"]
    assert encode_receipt(example["boot"], to_ranges(example["seqs"])) == payload_of(example)
    assert example["topic"] == receipts_topic("d32131")


@pytest.mark.parametrize("example", _named(COMMANDS, "command"))
def test_a_command_reads_and_writes_as_in_the_example(example: dict[str, Any]) -> None:
    command = decode_command(payload_of(example))
    assert msgspec.to_builtins(command) == example["command"]
    if not example.get("read_only"):
        assert encode_command(command) == payload_of(example)
    assert example["topic"] == commands_topic("d32131")


@pytest.mark.parametrize("example", _named(COMMANDS, "reason"))
def test_a_wrong_command_is_refused_for_the_reason_in_the_example(example: dict[str, Any]) -> None:
    with pytest.raises(PayloadRejected) as refused:
        decode_command(payload_of(example))
    assert refused.value.reason == example["reason"]


def test_a_reading_is_written_as_in_the_first_example() -> None:
    example = DATA["examples"][0]
    written = msgspec.json.decode(encode_data([WireReading(**example["readings"][0])]))
    assert written == json.loads(payload_of(example))
    assert example["topic"] == data_topic("d32131")
