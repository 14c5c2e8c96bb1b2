"""Whatever comes over the wire is understood as the protocol says, and survives the way into the log and back."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridges.intake import Message
from bridges.mqtt_packets import Publish, encode_publish, parse_publish
from bridges.translation import Translator
from domain.clock import to_instant, to_ms
from domain.data_payload import decode_data
from domain.errors import PayloadRejected
from domain.events import ReadingRecorded, decode_event, decode_reading, reading_record
from domain.from_wire import reading_records
from domain.ranges import to_ranges
from domain.wire import MAX_AT_MS, WireReading, decode_receipt, decode_status, encode_data, encode_receipt
from tests.property.wire_reference import RANGES, Meaning, meaning_of

RECEIVED_AT_MS = 1_764_000_000_200
MAX_AGE_MS = 400 * 86_400_000
TIMES = {"received_at_ms": RECEIVED_AT_MS, "max_age_ms": MAX_AGE_MS}

_boots = st.text("0123456789abcdef", min_size=8, max_size=8)
_ats = st.integers(RECEIVED_AT_MS - MAX_AGE_MS, RECEIVED_AT_MS + 120_000)
_optional = {
    name: st.integers(*RANGES[name])
    for name in ("voltage_mv", "current_ma", "energy_mwh", "temperature_mc", "rssi_dbm")
}
_members = {"boot": _boots, "seq": st.integers(*RANGES["seq"]), "power_mw": st.integers(*RANGES["power_mw"])}
_dated = st.fixed_dictionaries({**_members, "at": _ats}, optional={**_optional, "relay": st.booleans()})
_undated = st.fixed_dictionaries({**_members, "up": st.integers(0, 2**48)}, optional=_optional)
_readings = (_dated | _undated).map(lambda members: WireReading(**members))
_device_ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)

# Things that nearly are readings: what a buggy or hostile board may send.
_odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=9),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
_odd_members = st.dictionaries(
    st.sampled_from(["boot", "seq", "power_mw", "at", "up", "relay", "voltage_mv", "rssi_dbm", "new", "a:b"]),
    _odd_values | _boots | st.integers(0, 100) | _ats,
)
_edge_ats = st.integers(-3, 3).flatmap(
    lambda off: st.sampled_from([RECEIVED_AT_MS + 120_000 + off, RECEIVED_AT_MS - MAX_AGE_MS + off])
)
_misdated = st.fixed_dictionaries({**_members, "at": _edge_ats})
_oddly_dated = st.fixed_dictionaries(_members, optional={"at": _ats, "up": st.integers(0, 2**48)})
_over_the_edge = st.sampled_from(sorted(RANGES)).flatmap(
    lambda name: st.builds(
        lambda base, value: {**base, name: value}, _dated, st.sampled_from([RANGES[name][0] - 1, RANGES[name][1] + 1])
    )
)
_oddly_made = st.builds(lambda base, odd: {**base, **odd}, _dated | _undated, _odd_members)
_nearly = st.one_of(_misdated, _oddly_dated, _over_the_edge, _oddly_made, _odd_values)
_texts = st.one_of(
    _nearly, st.lists(_nearly, max_size=4), st.lists(_dated, max_size=6), st.lists(_misdated, max_size=6)
).map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


@st.composite
def _corrupted(draw: st.DrawFn) -> bytes:
    """A payload with a few bytes changed, doubled, left out or put in."""
    payload = bytearray(draw(_texts))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(payload)))
        cut = draw(st.integers(0, 6))
        piece = draw(
            st.binary(max_size=3)
            | st.sampled_from(
                [b",", b":", b'"', b"{", b"}", b"[", b"]", b"-", b"0", b"NaN", b"1e5", b'"seq":1,', b"\xff"]
            )
            | st.just(bytes(payload[at : at + 30]))
        )
        payload[at : at + cut] = piece
    return bytes(payload)


def _understood(payload: bytes) -> Meaning:
    try:
        decoded = decode_data(payload, **TIMES)
    except PayloadRejected as error:
        return Meaning([], [], error.reason)
    readings = [msgspec.json.decode(msgspec.json.encode(reading)) for reading in decoded.readings]
    return Meaning(readings, [rejected.error.reason for rejected in decoded.rejected])


def _same(one: Meaning, other: Meaning) -> bool:
    def order(reading: dict[str, Any]) -> list[tuple[str, Any]]:
        return sorted(reading.items())

    return list(map(order, one.readings)) == list(map(order, other.readings)) and one[1:] == other[1:]


@given(_corrupted())
@example(b"")
@example(b" [ ] ")
@example(b"[1,]")
@example(b"\x0b[]")
@example(b'\xef\xbb\xbf{"boot":"0badcafe"}')
@example('{"boot":"0badcafe","seq":1,"power_mw":1,"at":1764000000123}'.encode("utf-16"))
@example(b'{"boot":"0badcafe","seq":1,"seq":1,"power_mw":1,"at":1764000000123}trailing')
@example(b"[" * 5000)
@example(b'{"boot":"0badcafe","seq":1,"power_mw":1,"at":1764000000123,"x":' + b"9" * 5000 + b"}")
@settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_payload_is_understood_as_the_reference_understands_it(payload: bytes) -> None:
    understood, meant = _understood(payload), meaning_of(payload, **TIMES)
    assert _same(understood, meant), (understood, meant)


@given(st.binary(max_size=200) | _corrupted(), st.sampled_from(["data", "status", "other"]))
@settings(max_examples=500, deadline=None)
def test_every_message_becomes_records_that_can_be_read_again(payload: bytes, channel: str) -> None:
    message = Message(_NoLink(), Publish(f"devices/d1/{channel}", payload, 1, False, False), RECEIVED_AT_MS)
    translated = Translator(max_age_ms=MAX_AGE_MS).translate([message])
    events = [decode_event(record.value, record.headers) for record in translated.records]
    assert "internal" not in translated.rejected
    assert len(events) == translated.readings + translated.reports + sum(translated.rejected.values())
    assert all(record.key == b"d1" for record in translated.records)


class _NoLink:
    def acknowledge(self, packet_ids: object) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


@given(_device_ids, st.lists(_readings, min_size=1, max_size=5))
def test_readings_survive_wire_event_record_and_event(device_id: str, readings: list[WireReading]) -> None:
    decoded = decode_data(encode_data(readings), received_at_ms=RECEIVED_AT_MS, max_age_ms=2**60)
    assert decoded.readings == readings
    records = reading_records(device_id, readings, received_at_ms=RECEIVED_AT_MS)
    for reading, record in zip(readings, records, strict=True):
        event = decode_event(record.value, record.headers)
        assert isinstance(event, ReadingRecorded)
        assert reading_record(event) == record
        assert decode_reading(record.value) == event
        assert _back_on_the_wire(event) == reading
        assert (event.device_id, to_ms(event.received_at)) == (device_id, RECEIVED_AT_MS)
        assert dict(record.headers)["ce_id"].decode() == f"{reading.boot}:{reading.seq}"
        assert record.timestamp_ms == to_ms(event.measured_at)


def _back_on_the_wire(event: ReadingRecorded) -> WireReading:
    """The integers that a reading's SI units came from: none may be lost in a double."""

    def milli(value: float | None) -> int | None:
        return None if value is None else round(value * 1000)

    return WireReading(
        event.boot,
        event.seq,
        round(event.power_w * 1000),
        None if event.up_ms is not None else to_ms(event.measured_at),
        event.up_ms,
        milli(event.voltage_v),
        milli(event.current_a),
        milli(event.energy_wh),
        event.relay,
        milli(event.temperature_c),
        event.rssi_dbm,
    )


@given(st.lists(st.tuples(st.sampled_from(["0000000a", "0000000b"]), st.integers(0, 10**9)), min_size=1, max_size=8))
def test_readings_without_a_clock_keep_their_distances_per_boot(ups: list[tuple[str, int]]) -> None:
    readings = [WireReading(boot, seq, 1, up=up) for seq, (boot, up) in enumerate(ups)]
    records = reading_records("d1", readings, received_at_ms=RECEIVED_AT_MS)
    for boot in {boot for boot, _ in ups}:
        newest = max(up for one, up in ups if one == boot)
        dated = [(up, record.timestamp_ms) for (one, up), record in zip(ups, records, strict=True) if one == boot]
        assert all(at_ms == RECEIVED_AT_MS - (newest - up) for up, at_ms in dated)


@given(st.integers(0, MAX_AT_MS))
def test_an_instant_is_exact_to_the_millisecond(at_ms: int) -> None:
    assert to_instant(at_ms) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    assert to_ms(to_instant(at_ms)) == at_ms


@given(st.sets(st.integers(0, 2**48), max_size=50) | st.sets(st.integers(0, 60), max_size=50))
def test_ranges_hold_exactly_the_numbers_they_were_made_of(numbers: set[int]) -> None:
    ranges = to_ranges([*numbers, *list(numbers)[:3]])
    small = [(first, last) for first, last in ranges if last - first < 1000]
    assert small == ranges
    assert {number for first, last in ranges for number in range(first, last + 1)} == numbers
    assert all(one[1] + 1 < two[0] for one, two in itertools.pairwise(ranges))
    assert decode_receipt(encode_receipt("0badcafe", ranges)).ranges == ranges


@given(st.binary(max_size=300))
def test_a_status_of_any_bytes_is_decoded_or_refused_with_a_reason(payload: bytes) -> None:
    try:
        decode_status(payload)
    except PayloadRejected as error:
        assert error.reason in {"not_json", "schema", "doubled_key"}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.binary(max_size=300))
def test_a_publish_reads_back_as_it_was_written(topic: str, payload: bytes) -> None:
    packet = encode_publish(topic, payload)
    header = next(at for at in range(1, 5) if packet[at] < 0x80) + 1
    assert parse_publish(packet[0], packet[header:]) == Publish(topic, payload, None, False, False)
