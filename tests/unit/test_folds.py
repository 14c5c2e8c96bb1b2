"""Folds: what a batch of records adds to the read models."""

from __future__ import annotations

import msgspec
import pytest

from domain.clock import to_instant
from domain.events import DEAD_LETTERS_TOPIC, READINGS_TOPIC, REPORTS_TOPIC, Record, dead_letter
from projections.folded import date_readings
from projections.folds import fold_records
from projections.newest_rows import reading_document
from projections.tables import device_ref_of
from tests.projection_records import T0_MS, poison, presence, reading, record_of, stored


def test_a_reading_becomes_a_row_of_integers() -> None:
    event = reading(seq=7, voltage_v=230.1, current_a=0.431, energy_wh=123456.789, relay=True, temperature_c=-3.25)
    folded = fold_records({(READINGS_TOPIC, 2): stored([event], 40)})
    ref = device_ref_of("socket")
    expected = (ref, T0_MS, 0x9F3A61C2, 7, T0_MS + 50, 100_000, 230_100, 431, 123_456_789, 1, -3250, None)
    assert folded.readings == [expected]
    assert folded.next_offsets == {(READINGS_TOPIC, 2): 41}


def test_the_document_of_a_row_is_the_record_it_came_from() -> None:
    event = reading(voltage_v=230.1, current_a=0.431, energy_wh=0.001, relay=False, temperature_c=41.2, rssi_dbm=-61)
    folded = fold_records({(READINGS_TOPIC, 0): stored([event])})
    assert reading_document("socket", folded.readings[0]) == record_of(event).value == folded.newest["socket"].document


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"\xff\xfe", None, b'{"device_id":"socket"}', b'{"a":' * 5000, b"null"]
)
def test_poison_becomes_a_dead_letter_and_its_neighbours_are_kept(value: bytes | None) -> None:
    folded = fold_records(
        {("t.wattaway.readings.v1", 1): stored([reading(seq=1), poison(value), reading(seq=2)], 10)}, prefix="t."
    )
    assert [row[3] for row in folded.readings] == [1, 2]
    letter = folded.dead_letters[0]
    assert letter[:5] == ("readings", 1, 11, T0_MS, "socket")
    assert letter[9:] == ("kafka:t.wattaway.readings.v1/1/11", value or b"")
    assert folded.next_offsets == {("t.wattaway.readings.v1", 1): 13}


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        (b'"9f3a61c2"', b'"9F3A61C2"'),
        (b'"9f3a61c2"', b'"0x3a61c2"'),
        (b'"socket"', b'"soc/ket"'),
        (b'"measured_at":"20', b'"measured_at":"21'),
        (b'"measured_at":"20', b'"measured_at":"19'),
    ],
)
def test_a_reading_is_checked_however_well_its_device_is_known(what: bytes, wrong: bytes) -> None:
    value = record_of(reading(seq=1)).value.replace(what, wrong)
    folded = fold_records({(READINGS_TOPIC, 1): stored([reading(seq=0), poison(value), reading(seq=2)])})
    assert [row[3] for row in folded.readings] == [0, 2]
    assert [letter[7] for letter in folded.dead_letters] == ["schema"]


def test_a_device_that_starts_anew_has_its_new_boot_from_then_on() -> None:
    boots = ["00000001", "00000002", "00000001", "00000002"]
    folded = fold_records({(READINGS_TOPIC, 0): stored([reading(boot=boot) for boot in boots])})
    assert [row[2] for row in folded.readings] == [1, 2, 1, 2]


def test_an_event_of_another_topic_is_poison() -> None:
    folded = fold_records({(READINGS_TOPIC, 0): stored([presence()]), (REPORTS_TOPIC, 0): stored([reading()])})
    assert [letter[0] for letter in folded.dead_letters] == ["readings", "reports"]
    assert not folded.readings and not folded.reports


def test_a_dead_letter_of_the_bridge_keeps_its_bytes_and_loses_identities_that_cannot_be_stored() -> None:
    letter = dead_letter(
        "schema",
        "d" * 900,
        origin="mqtt:devices/x/data",
        raw=b"\x00\xff",
        received_at_ms=T0_MS,
        device_id="a/b",
        boot="ZZ",
        seq=2**70 % 2**63,
    )
    row = fold_records({(DEAD_LETTERS_TOPIC, 3): stored([letter], 5)}).dead_letters[0]
    assert row[:6] == ("dead-letters", 3, 5, T0_MS, None, None)
    assert row[8] == "d" * 500 and row[10] == b"\x00\xff"


def test_a_report_without_an_id_is_poison_and_a_long_id_is_hashed() -> None:
    record = record_of(presence())
    nameless = record._replace(headers=[header for header in record.headers if header[0] != "ce_id"])
    long = Record(
        record.topic, record.key, record.value, [*nameless.headers, ("ce_id", b"x" * 400)], record.timestamp_ms
    )
    folded = fold_records({(REPORTS_TOPIC, 0): stored([nameless, long])})
    assert [letter[7] for letter in folded.dead_letters] == ["event_id"]
    assert folded.reports[0][1].startswith("sha256:") and len(folded.reports[0][1]) == 71


def test_the_newest_reading_is_by_time_then_boot_then_seq() -> None:
    events = [
        reading(seq=9, at_ms=T0_MS + 1),
        reading(seq=4, at_ms=T0_MS + 2),
        reading(seq=8, at_ms=T0_MS + 2, boot="00000001"),
    ]
    newest = fold_records({(READINGS_TOPIC, 0): stored(events)}).newest["socket"]
    assert newest[:3] == (T0_MS + 2, 0x9F3A61C2, 4)


def test_readings_without_a_clock_are_dated_by_the_first_of_their_boot() -> None:
    events = [
        reading(seq=1, at_ms=T0_MS + 900, up_ms=1000),
        reading(seq=2, at_ms=T0_MS + 5555, up_ms=3000),
        reading(seq=3, at_ms=T0_MS + 9, up_ms=500, boot="00000001"),
    ]
    folded = fold_records({(READINGS_TOPIC, 0): stored(events)})
    found = date_readings(folded, {(device_ref_of("socket"), 1): T0_MS})
    assert [row[1] for row in folded.readings] == [T0_MS + 900, T0_MS + 2900, T0_MS + 500]
    assert found == {(device_ref_of("socket"), 0x9F3A61C2): T0_MS - 100}
    document = msgspec.json.decode(folded.newest["socket"].document)
    assert "up_ms" not in document and document["seq"] == 2
    assert date_readings(folded, {}) == {**found, (device_ref_of("socket"), 1): T0_MS + 9 - 500}


def test_uptimes_beyond_all_time_are_held_within_it() -> None:
    folded = fold_records({(READINGS_TOPIC, 0): stored([reading(seq=1, up_ms=0), reading(seq=2, up_ms=2**48)])})
    date_readings(folded, {})
    assert folded.readings[1][1] == 4_102_444_800_000
    assert msgspec.json.decode(folded.newest["socket"].document)["measured_at"].startswith("2100-01-01")


def test_devices_that_are_refused_become_dead_letters() -> None:
    records = {(READINGS_TOPIC, 0): stored([reading("a"), reading("b")]), (REPORTS_TOPIC, 0): stored([presence("b")])}
    folded = fold_records(records, refused=frozenset({"b"}))
    assert len(folded.readings) == 1 and [letter[7] for letter in folded.dead_letters] == ["device_ref"] * 2
    assert to_instant(T0_MS).year == 2025


def test_a_second_device_with_the_same_surrogate_is_refused_within_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.folds.device_ref_of", lambda device_id: 7)
    records = {(READINGS_TOPIC, 0): stored([reading("a"), reading("b")]), (REPORTS_TOPIC, 0): stored([presence("b")])}
    folded = fold_records(records)
    assert folded.devices[7].device_id == "a" and len(folded.readings) == 1
    assert [letter[7] for letter in folded.dead_letters] == ["device_ref"] * 2
