"""The wire as the firmware writes and reads it in MicroPython is that of the golden examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domain.data_payload import decode_data
from domain.ranges import to_ranges
from domain.wire import CommandReport, DeviceEventReport, PresenceReport, WireReading, decode_status
from tests.firmware.micropython import Worker, run
from tests.golden_examples import golden, payload_of

DATA, STATUS, RECEIPTS, COMMANDS = (golden(kind) for kind in ("data", "status", "receipts", "commands"))
REPORTS = {"presence": PresenceReport, "command": CommandReport, "event": DeviceEventReport}
# What a socket never writes: blanks, null, members that it does not know, several readings of which one is bad.
WRITTEN_OTHERWISE = ("blanks", "a member from", "null", "one bad")


def _named(examples: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(one, id=one["name"]) for one in examples]


def written(worker: Worker, reading: dict[str, Any]) -> bytes:
    """A reading as the firmware writes it."""
    members = {name: value for name, value in reading.items() if name not in ("boot", "seq", "at", "up")}
    time_ms = reading.get("at", reading.get("up"))
    boot = int(reading["boot"], 16)
    told = worker.call("pure_parts", "encode", boot, reading["seq"], members, time_ms, "at" in reading, None)
    return bytes.fromhex(told["answer"]["hex"])


@pytest.mark.parametrize("example", _named([one for one in DATA["examples"] if one.get("readings")]))
def test_readings_are_written_as_in_the_examples(worker: Worker, example: dict[str, Any]) -> None:
    texts = [written(worker, reading) for reading in example["readings"]]
    payload = texts[0] if len(texts) == 1 else b"[" + b",".join(texts) + b"]"
    if not example["name"].startswith(WRITTEN_OTHERWISE):
        assert payload == payload_of(example)
    decoded = decode_data(payload, received_at_ms=DATA["received_at_ms"], max_age_ms=DATA["max_age_ms"])
    assert decoded.readings == [WireReading(**reading) for reading in example["readings"]]


@pytest.mark.parametrize("example", _named(RECEIPTS["examples"]))
def test_receipts_are_read_as_in_the_examples(worker: Worker, example: dict[str, Any]) -> None:
    boot, ranges = worker.call("pure_parts", "read_receipt", payload_of(example))["answer"]
    assert (f"{boot:08x}", ranges) == (example["boot"], [list(pair) for pair in to_ranges(example["seqs"])])


@pytest.mark.parametrize("example", _named(COMMANDS["examples"]))
def test_commands_are_read_as_in_the_examples(worker: Worker, example: dict[str, Any]) -> None:
    told = worker.call("commands", "read", payload_of(example))["answer"]
    if "command" in example:
        assert {name: told[name] for name in example["command"]} == example["command"]
    else:
        assert told is None


def test_an_uplink_says_what_the_examples_say(tmp_path: Path) -> None:
    """Will, presence and reports; a backlog in one list, settled by the examples' receipts."""
    said = {one["name"]: one for one in STATUS["examples"] if "report" in one}
    presence, will = said.pop("presence"), said.pop("last will")
    backlog = [{"power_mw": 98200} for _ in range(23)]
    now_ms = DATA["received_at_ms"]
    plan = {
        "flash_dir": str(tmp_path),
        "boot": int(presence["report"]["boot"], 16),
        "firmware": presence["report"]["firmware"],
        "config": presence["report"]["config"],
        "now_ms": now_ms,
        "readings": backlog,
        "reports": [json.loads(one["payload"]) for one in said.values()],
        "receipts": [payload_of(one).decode() for one in RECEIPTS["examples"]],
    }
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan, ensure_ascii=False))
    *told, ended = run("speak.py", str(path))
    assert told[0] == ["will", "devices/d32131/status", will["payload"], True]
    statuses = [(payload, retain) for _, topic, payload, retain in told[1:] if topic.endswith("/status")]
    expected = [presence, *said.values()]
    assert [retain for _, retain in statuses] == [True] + [False] * len(said)
    for (payload, _), example in zip(statuses, expected, strict=True):
        assert decode_status(payload.encode()) == REPORTS[example["kind"]](**example["report"])
    [payload] = [payload for _, topic, payload, _ in told[1:] if topic == "devices/d32131/data"]
    decoded = decode_data(payload.encode(), received_at_ms=now_ms, max_age_ms=DATA["max_age_ms"])
    assert [(one.boot, one.seq) for one in decoded.readings] == [("9f3a61c2", seq) for seq in range(23)]
    # Of the examples' receipts the first two name readings that it has; 17 is settled already, 22 is the last.
    assert ended == {"waiting": [23, 22, 18, 18], "bad": 0}
