"""Whatever comes becomes a record, even where our own code fails."""

from __future__ import annotations

import pytest

from bridges import translation
from bridges.intake import Message
from bridges.mqtt_packets import Publish
from bridges.translation import Translated, Translator
from domain.events import DeadLettered, DeviceEventReported, PresenceChanged, ReadingRecorded, decode_event
from domain.wire import WireReading, encode_data

NOW_MS = 1_764_000_000_200


class NoLink:
    def acknowledge(self, packet_ids: object) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


def _message(topic: str, payload: bytes, *, retained: bool = False, at_ms: int = NOW_MS) -> Message:
    return Message(NoLink(), Publish(topic, payload, 1, False, retained), at_ms)


def _reading(seq: int) -> bytes:
    return encode_data([WireReading("0badcafe", seq, 5, at=NOW_MS)])


def _events(translated: Translated) -> list[object]:
    return [decode_event(record.value, record.headers) for record in translated.records]


def test_records_stand_in_the_order_of_the_messages() -> None:
    translator = Translator(max_age_ms=1000)
    messages = [
        _message("devices/d1/data", _reading(1)),
        _message("devices/d1/status", b'{"online":true}'),
        _message("devices/d1/data", b"poison"),
        _message("devices/d2/data", _reading(2)),
    ]
    translated = translator.translate(messages)
    assert [type(event) for event in _events(translated)] == [
        ReadingRecorded,
        PresenceChanged,
        DeadLettered,
        ReadingRecorded,
    ]
    assert (translated.readings, translated.reports, dict(translated.rejected)) == (2, 1, {"not_json": 1})
    assert translated.settled == [("d1", "0badcafe", 1), ("d2", "0badcafe", 2)]
    assert translator.devices == {"d1", "d2"}


def test_a_bug_of_ours_buries_one_message_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_at_seq_2(payload: bytes, **times: int) -> object:
        if b'"seq":2' in payload:
            raise RuntimeError("a bug")
        return decode(payload, **times)

    decode = translation.decode_data
    monkeypatch.setattr(translation, "decode_data", fails_at_seq_2)
    translated = Translator(max_age_ms=1000).translate(
        [_message("devices/d1/data", _reading(seq)) for seq in (1, 2, 3)]
    )
    first, letter, last = _events(translated)
    assert isinstance(letter, DeadLettered)
    assert (letter.reason, letter.device_id, letter.raw_bytes()) == ("internal", "d1", _reading(2))
    assert [event.seq for event in (first, last) if isinstance(event, ReadingRecorded)] == [1, 3]


@pytest.mark.parametrize(
    ("topic", "reason", "device_id"),
    [
        ("devices/d1/commands", "topic", "d1"),
        ("devices/d1/data/more", "topic", None),
        ("elsewhere", "topic", None),
        ("", "topic", None),
        ("devices/d\u00fc1/data", "device_id", None),
        ("devices/" + "x" * 60_000 + "/data", "device_id", None),
    ],
)
def test_a_topic_of_another_shape_is_a_dead_letter(topic: str, reason: str, device_id: str | None) -> None:
    (letter,) = _events(Translator(max_age_ms=1000).translate([_message(topic, _reading(1))]))
    assert isinstance(letter, DeadLettered)
    assert (letter.reason, letter.device_id) == (reason, device_id)
    assert letter.origin == f"mqtt:{topic[:300]}"


def _report_ids(*payloads: bytes) -> list[bytes]:
    messages = [_message("devices/d1/status", payload) for payload in payloads]
    return [dict(record.headers)["ce_id"] for record in Translator(max_age_ms=1000).translate(messages).records]


@pytest.mark.parametrize("at", [b"", b',"at":1764000000100'])
def test_events_of_one_name_and_instant_are_told_apart_by_their_details(at: bytes) -> None:
    ids = _report_ids(
        b'{"event":"warning","cause":"over_current"%b}' % at,
        b'{"event":"warning","cause":"over_voltage"%b}' % at,
        b'{"event":"warning"%b}' % at,
    )
    assert len(set(ids)) == 3


def test_an_event_that_is_sent_again_is_the_same_one_in_whatever_order_its_members_come() -> None:
    first, again = _report_ids(
        b'{"event":"trip","cause":"over_current","current_ma":17200,"at":1764000000100}',
        b'{"at":1764000000100,"current_ma":17200,"event":"trip","cause":"over_current"}',
    )
    assert first == again


def test_a_presence_that_the_broker_kept_is_one_report_however_often_it_is_given_out() -> None:
    online, newer = b'{"online":true,"boot":"0badcafe","config":7}', b'{"online":true,"boot":"0badcafe","config":8}'
    messages = [
        _message("devices/d1/status", online),
        _message("devices/d1/status", online, retained=True, at_ms=NOW_MS + 1),
        _message("devices/d1/status", online, retained=True, at_ms=NOW_MS + 2),
        _message("devices/d1/status", newer, retained=True, at_ms=NOW_MS + 3),
    ]
    translated = Translator(max_age_ms=1000).translate(messages)
    assert [event.retained for event in _events(translated)] == [False, True, True, True]  # type: ignore[attr-defined]
    ids = [dict(record.headers)["ce_id"] for record in translated.records]
    assert ids[1] == ids[2] and len(set(ids)) == 3


def test_presences_that_come_at_once_are_told_apart_by_what_they_say() -> None:
    ids = _report_ids(*(b'{"online":true,"boot":"0badcafe","config":%d}' % version for version in range(8)))
    assert len(set(ids)) == 8


def test_dead_letters_of_one_list_are_told_apart_by_their_bytes() -> None:
    bad = b",".join(b'{"boot":"0badcafe","seq":-1,"power_mw":%d}' % number for number in range(20))
    translated = Translator(max_age_ms=1000).translate([_message("devices/d1/data", b"[" + bad + b"]")])
    assert len({dict(record.headers)["ce_id"] for record in translated.records}) == 20


@pytest.mark.parametrize(
    ("details", "detail"),
    [
        (b"[" * 17 + b"1" + b"]" * 17, "nested more than 16 deep"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "nested more than 16 deep"),
        (b"9223372036854775808", "an integer is beyond 64 bits"),
        (b"[[-9223372036854775809]]", "an integer is beyond 64 bits"),
    ],
)
def test_details_that_some_database_could_not_hold_are_a_dead_letter(details: bytes, detail: str) -> None:
    payload = b'{"event":"trip","cause":%b}' % details
    (letter,) = _events(Translator(max_age_ms=1000).translate([_message("devices/d1/status", payload)]))
    assert isinstance(letter, DeadLettered)
    assert (letter.reason, letter.detail, letter.raw_bytes()) == ("schema", detail, payload)


def test_details_as_deep_and_as_great_as_may_be_are_kept() -> None:
    cause = b"[" * 15 + b"9223372036854775807,-9223372036854775808,1e300" + b"]" * 15
    (event,) = _events(
        Translator(max_age_ms=1000).translate([_message("devices/d1/status", b'{"event":"trip","cause":%b}' % cause)])
    )
    assert isinstance(event, DeviceEventReported)
