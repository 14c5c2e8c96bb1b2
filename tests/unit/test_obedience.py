"""A simulated socket does each command once, none that has expired, and says the same of one that comes again."""

from __future__ import annotations

from typing import Any

from domain.command_wire import WireCommand, encode_command
from domain.lifecycle.commands import Reference
from domain.lifecycle.devices import DeviceConfiguration
from domain.wire import CommandReport, decode_status
from ops.simulator.metering import MeteredSocket
from ops.simulator.obedience import REMEMBERED_IDS, Obedience

NOW_MS = 1_764_000_000_000


class _Clock:
    at_ms = NOW_MS

    def now_ms(self) -> int:
        return self.at_ms


class _Bench:
    def __init__(self) -> None:
        self.clock = _Clock()
        self.acted: list[WireCommand] = []
        self.obedience = Obedience(self.clock, self.acted.append)

    def send(self, command_id: str, kind: Any, **members: Any) -> CommandReport:
        command = WireCommand(id=command_id, type=kind, expires_at=NOW_MS + 1000, **members)
        answer = self.obedience.obey(encode_command(command))
        assert answer is not None
        report = decode_status(answer)
        assert isinstance(report, CommandReport)
        return report


def test_a_doubled_command_is_answered_again_without_acting() -> None:
    bench = _Bench()
    first = bench.send("a", "toggle")
    bench.clock.at_ms += 500
    assert bench.send("a", "toggle") == first
    assert (len(bench.acted), bench.obedience.relay, first.relay) == (1, False, False)


def test_an_expired_command_is_refused_and_stays_refused() -> None:
    bench = _Bench()
    bench.clock.at_ms += 1000
    assert bench.send("a", "switch", relay=False).reason == "expired"
    bench.clock.at_ms = NOW_MS
    assert bench.send("a", "switch", relay=False).result == "rejected"
    assert (bench.acted, bench.obedience.relay) == ([], True)


def test_a_command_done_in_time_is_answered_as_done_even_after_it_has_expired() -> None:
    bench = _Bench()
    assert bench.send("a", "switch", relay=False).result == "done"
    bench.clock.at_ms += 5000
    assert bench.send("a", "switch", relay=False).result == "done"


def test_the_last_64_ids_are_remembered_and_no_more() -> None:
    bench = _Bench()
    for number in range(REMEMBERED_IDS + 1):
        bench.send(str(number), "toggle")
    bench.send("1", "toggle")
    assert len(bench.acted) == REMEMBERED_IDS + 1
    bench.send("0", "toggle")
    assert len(bench.acted) == REMEMBERED_IDS + 2


def test_what_is_no_command_is_not_answered() -> None:
    assert _Bench().obedience.obey(b'{"id":"a","type":"explode","expires_at":1}') is None


def test_a_configuration_is_taken_with_its_version() -> None:
    bench = _Bench()
    config = DeviceConfiguration(interval_ms=2000)
    assert bench.send("a", "configure", config=config, version=3).result == "done"
    assert (bench.obedience.config, bench.obedience.config_version) == (config, 3)


def test_a_simulated_meter_cannot_be_calibrated() -> None:
    bench = _Bench()
    answer = bench.send("a", "calibrate", reference=Reference(power_mw=1_980_000))
    assert (answer.result, answer.reason, bench.acted) == ("rejected", "too_far_off", [])


def test_an_open_relay_draws_nothing_and_the_counter_stands_still() -> None:
    meter = MeteredSocket("router", seed="1", start_ms=NOW_MS, energy_mwh=1000)
    assert (meter.read("0badcafe", 0, NOW_MS + 60_000).power_mw or 0) > 0
    meter.switch(False, NOW_MS + 60_000)
    opened = meter.read("0badcafe", 1, NOW_MS + 60_000)
    later = meter.read("0badcafe", 2, NOW_MS + 3_600_000)
    assert [(one.relay, one.power_mw, one.current_ma) for one in (opened, later)] == [(False, 0, 0)] * 2
    assert opened.energy_mwh == later.energy_mwh
    meter.switch(True, NOW_MS + 3_600_000)
    closed = meter.read("0badcafe", 3, NOW_MS + 3_600_000)
    assert closed.relay is True
    assert closed.power_mw > 0
