"""Commands in MicroPython: each id done once, also over a restart."""

from __future__ import annotations

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import commands
import pytest
from flash import SECTOR_SIZE, Flash, PowerCut
from hypothesis import given
from hypothesis import strategies as st
from records import Record

from domain.wire import CommandReport, decode_status
from tests.firmware.micropython import Worker, here

NOW_MS = 1_764_000_000_000


def command(name: str, kind: str, **members: Any) -> str:
    return json.dumps({"id": name, "type": kind, "expires_at": NOW_MS + 1000, **members})


def played(worker: Worker, *steps: tuple[str, int | None, bool]) -> tuple[list[Any], list[Any], dict[str, Any], int]:
    answers, deeds, config, version = worker.call("obey", "play", [list(step) for step in steps])["answer"]
    return answers, deeds, config, version


def test_a_doubled_command_acts_once_and_is_answered_alike_even_after_a_restart(worker: Worker) -> None:
    toggle = command("a", "toggle")
    answers, deeds, _, _ = played(worker, (toggle, NOW_MS, False), (toggle, NOW_MS + 500, False), (toggle, None, True))
    assert answers[0] == answers[1] == answers[2]
    assert ["switch", True] in deeds[0]
    assert all("switch" not in [deed[0] for deed in later] for later in deeds[1:])
    report = decode_status(json.dumps(answers[0]).encode())
    assert report == CommandReport("a", "done", relay=True, at=NOW_MS)


def test_an_expired_command_is_refused_but_not_by_a_socket_without_time(worker: Worker) -> None:
    late = NOW_MS + 1000
    answers, deeds, _, _ = played(
        worker, (command("a", "identify"), late, False), (command("b", "identify"), None, False)
    )
    assert (answers[0]["result"], answers[0]["reason"]) == ("rejected", "expired")
    assert answers[1]["result"] == "done"
    assert deeds[1] == [["identify"]]


def test_a_flash_that_is_worn_out_keeps_no_load_on(monkeypatch: pytest.MonkeyPatch) -> None:
    flash = Flash(2 * SECTOR_SIZE)
    deeds: list[bool] = []
    socket = SimpleNamespace(relay=True, refusal=lambda closed: "", switch=deeds.append)
    clock = SimpleNamespace(now_ms=lambda: NOW_MS)
    obeying = commands.Commands(Record(flash, 0, 1365), clock, socket)
    monkeypatch.setattr(flash, "write", lambda at, data: None)
    off = command("a", "switch", relay=False).encode()
    first = obeying.obey(off)
    assert first is not None
    assert (first["result"], first["relay"], deeds, obeying.unkept) == ("done", False, [False], 1)
    assert (obeying.obey(off), deeds) == (first, [False])


def test_the_last_64_ids_are_remembered(worker: Worker) -> None:
    assert worker.call("obey", "identify_many", 65, ["1", "0"]) == {"answer": [False, True]}


def test_a_configuration_that_cannot_work_leaves_the_one_before(worker: Worker) -> None:
    answers, deeds, config, version = played(
        worker,
        (command("a", "configure", config={"interval_ms": 5000}, version=2), NOW_MS, False),
        (command("b", "configure", config={"interval_ms": 1234}, version=3), NOW_MS, False),
        (command("c", "configure", config={"max_current_ma": 17_000}, version=4), NOW_MS, False),
        (command("d", "configure", config={}, version=1), NOW_MS, True),
    )
    assert [answer["result"] for answer in answers] == ["done", "rejected", "rejected", "rejected"]
    assert deeds[1] == [["apply", ["interval_ms"]]]
    assert (config, version) == ({"interval_ms": 5000}, 2)


def test_a_calibration_is_done_once_and_says_why_it_was_not(worker: Worker) -> None:
    good = command("a", "calibrate", reference={"power_mw": 1_980_000})
    far = command("b", "calibrate", reference={"power_mw": 4_000_000})
    answers, deeds, _, _ = played(worker, (good, NOW_MS, False), (good, NOW_MS, True), (far, NOW_MS, False))
    assert [answers[0]["result"], answers[1]] == ["done", answers[0]]
    assert (answers[2]["result"], answers[2]["reason"]) == ("rejected", "too_far_off")
    assert [[deed[0] for deed in step] for step in deeds] == [["calibrate"], [], ["calibrate"]]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(value=values, escaped=st.booleans())
def test_json_is_read_as_python_reads_it(worker: Worker, value: Any, escaped: bool) -> None:
    from strict_json import parse

    text = json.dumps(value, ensure_ascii=escaped).encode()
    assert parse(text) == value
    assert worker.call("strict_json", "parse", text) == {"answer": value}


@given(text=st.binary(max_size=30) | st.text('{}[]",:0123e-.tru\\ ', max_size=20).map(str.encode))
def test_what_is_no_json_is_refused_on_both(worker: Worker, text: bytes) -> None:
    from strict_json import parse

    assert worker.call("strict_json", "parse", text).keys() == here(parse, text).keys()
    try:
        json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        assert here(parse, text) == {"error": "NotJson"}


def test_a_restart_is_refused_while_the_load_is_on(worker: Worker) -> None:
    on, off = command("a", "switch", relay=True), command("c", "switch", relay=False)
    steps = [(on, NOW_MS, False), (command("b", "restart"), NOW_MS, False), (off, NOW_MS, False)]
    answers, deeds, _, _ = played(worker, *steps, (command("d", "restart"), NOW_MS, False))
    assert (answers[1]["result"], answers[1]["reason"], deeds[1]) == ("rejected", "load_on", [])
    assert (answers[3]["result"], deeds[3]) == ("done", [["restart"]])


@pytest.mark.parametrize("torn", range(4))
def test_a_power_cut_at_every_write_of_the_memory_lets_no_command_act_twice(torn: int) -> None:
    for cut_after in range(8):
        memory, toggled = Flash(2 * SECTOR_SIZE), []
        memory.cut_after, memory.torn = cut_after, torn + 4 * cut_after
        socket = Switched(toggled)
        payloads = [command(name, "toggle").encode() for name in "abcdefgh"]
        with suppress(PowerCut):
            obeying = commands.Commands(Record(memory, 0, 1365), Clock(), socket)
            for payload in payloads:
                obeying.obey(payload)
        memory.cut_after = None
        # The engine heard no answer of the last one, so all may come again.
        obeying = commands.Commands(Record(memory, 0, 1365), Clock(), socket)
        for payload in payloads:
            assert obeying.obey(payload)["result"] == "done"
        assert len(payloads) - 1 <= len(toggled) <= len(payloads)


class Clock:
    def now_ms(self) -> int:
        return NOW_MS


class Switched:
    """Counts what it is told to do."""

    def __init__(self, switched: list[bool]) -> None:
        self._switched, self.relay = switched, False

    def refusal(self, closed: bool) -> str:
        return ""

    def switch(self, closed: bool) -> None:
        self._switched.append(closed)
        self.relay = closed
