"""Commands survive the wire, and no bytes make their reader fail otherwise than by refusing them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from domain.command_wire import MEMBERS_OF, WireCommand, decode_command, encode_command
from domain.errors import PayloadRejected
from domain.lifecycle.commands import Reference
from domain.lifecycle.devices import DeviceConfiguration
from domain.wire import MAX_AT_MS, MAX_CURRENT_MA, MAX_POWER_MW, MAX_VOLTAGE_MV


def _maybe(low: int, high: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(low, high)


CONFIGURATIONS = st.builds(
    DeviceConfiguration,
    interval_ms=_maybe(1_000, 3_600_000),
    max_power_mw=_maybe(1_000, MAX_POWER_MW),
    max_current_ma=_maybe(10, MAX_CURRENT_MA),
    min_voltage_mv=_maybe(0, MAX_VOLTAGE_MV),
    max_voltage_mv=_maybe(0, MAX_VOLTAGE_MV),
    max_temperature_mc=_maybe(30_000, 120_000),
    power_on=st.sampled_from([None, "off", "on", "last", "outage-aware"]),
    time_zone=st.none() | st.sampled_from(["UTC", "Europe/Berlin"]),
)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "relay": st.booleans(),
    "config": CONFIGURATIONS,
    "version": st.integers(1, 2**53),
    "reference": st.builds(
        Reference,
        power_mw=_maybe(10_000, MAX_POWER_MW),
        current_ma=_maybe(100, MAX_CURRENT_MA),
        voltage_mv=st.integers(80_000, MAX_VOLTAGE_MV),
    ),
}


@st.composite
def commands(draw: st.DrawFn) -> WireCommand:
    kind: Any = draw(st.sampled_from(["switch", "toggle", "restart", "identify", "configure", "calibrate"]))
    members = {name: draw(MEMBERS[name]) for name in MEMBERS_OF.get(kind, ())}
    command_id = draw(st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()))
    return WireCommand(id=command_id, type=kind, expires_at=draw(st.integers(0, MAX_AT_MS)), **members)


@given(commands())
def test_a_command_survives_the_wire(command: WireCommand) -> None:
    assert decode_command(encode_command(command)) == command


@given(commands(), st.data())
def test_a_command_with_a_member_missing_is_refused(command: WireCommand, data: st.DataObject) -> None:

    members = msgspec.to_builtins(command)
    del members[data.draw(st.sampled_from(sorted(members)))]
    try:
        decode_command(msgspec.json.encode(members))
    except PayloadRejected as refused:
        assert refused.reason == "schema"
        return
    raise AssertionError(f"{members} was taken")


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_taken_or_refused(payload: bytes) -> None:
    try:
        decode_command(payload)
    except PayloadRejected as refused:
        assert refused.reason in {"schema", "not_json", "doubled_key"}
