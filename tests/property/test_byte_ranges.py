"""Ranges: the part that is answered is the one that was asked for; what cannot be read is as if it was not said."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.byte_ranges import RangeNotSatisfiable, asked_part, is_known

ETAG = f'"{"a" * 64}"'
SIZES = st.integers(1, 300)


def asked(value: str, size: int, **more: str) -> range | None:
    return asked_part({"range": value, **more}, size, ETAG)


@settings(deadline=None)
@given(SIZES, st.integers(0, 400), st.none() | st.integers(0, 400))
def test_a_part_from_a_byte_on(size: int, first: int, last: int | None) -> None:
    content = bytes(n % 251 for n in range(size))
    value = f"bytes={first}-{'' if last is None else last}"
    if last is not None and last < first:
        assert asked(value, size) is None, "no range at all"
        return
    wanted = content[first:] if last is None else content[first : last + 1]
    if not wanted:
        with pytest.raises(RangeNotSatisfiable):
            asked(value, size)
        return
    part = asked(value, size)
    assert part is not None and content[part.start : part.stop] == wanted


@settings(deadline=None)
@given(SIZES, st.integers(0, 400))
def test_the_last_bytes(size: int, count: int) -> None:
    content = bytes(n % 251 for n in range(size))
    if count == 0:
        with pytest.raises(RangeNotSatisfiable):
            asked("bytes=-0", size)
        return
    part = asked(f"bytes=-{count}", size)
    assert part is not None and content[part.start : part.stop] == content[-count:]


@settings(deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"\A(bytes|items)=?[0-9,\- ]{0,20}\Z"), SIZES)
@example("bytes=-", 9)
@example("bytes=0-1,4-5", 9)
@example("bytes= 0-1", 9)
@example("bytes=٣-", 9)
@example("items=0-1", 9)
@example("bytes=0-" + "9" * 400, 9)
def test_whatever_else_is_asked_gets_everything(value: str, size: int) -> None:
    if re.fullmatch(r"bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})", value, re.IGNORECASE):
        return
    assert asked(value, size) is None


@pytest.mark.parametrize("known", ['"another"', f"W/{ETAG}", "Wed, 21 Oct 2026 07:28:00 GMT", "a" * 64])
def test_a_part_of_another_file_is_not_given(known: str) -> None:
    assert asked("bytes=3-", 9, **{"if-range": known}) is None
    assert asked("bytes=3-", 9, **{"if-range": ETAG}) == range(3, 9)
    assert asked("BYTES=3-4", 9) == range(3, 5)
    assert asked_part({}, 9, ETAG) is None


@pytest.mark.parametrize(
    ("said", "known"),
    [(ETAG, True), (f"W/{ETAG}", True), (f'"x", {ETAG}', True), ("*", True), ('"x"', False), ("", False)],
)
def test_who_has_the_file_already_is_known(said: str, known: bool) -> None:
    assert is_known({"if-none-match": said} if said else {}, ETAG) is known
