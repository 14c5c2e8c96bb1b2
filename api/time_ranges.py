"""Instants and days as a client writes them: RFC 3339, or relative to now such as `-24h`."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from domain.clock import to_instant, to_ms
from domain.errors import InvalidInput
from domain.wire import MAX_AT_MS

_RELATIVE = re.compile(r"([+ -])(\d{1,9})(s|m|h|d|w)")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
MAX_DAYS = 366
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class TimeRange(NamedTuple):
    """From `from_ms` up to, but without, `to_ms`; ms since 1970 UTC."""

    from_ms: int
    to_ms: int


def parse_instant(text: str, *, name: str, now_ms: int) -> int:
    """The instant in ms since 1970.

    Args:
        text: RFC 3339 with a zone, `now`, or `-24h`, `+90s` and the like (s, m, h, d, w).
        name: the query parameter, for the message.
    Raises:
        InvalidInput: another form, or not between 1970 and 2100.
    """
    if text == "now":
        return now_ms
    # A "+" in a query string arrives as a blank unless the client wrote %2B.
    if match := _RELATIVE.fullmatch(text):
        sign, count, unit = match.groups()
        return _in_range(now_ms + int(count) * _UNIT_MS[unit] * (-1 if sign == "-" else 1), text, name)
    repaired = re.sub(r" (\d\d:\d\d)$", r"+\1", text)
    if _RFC3339.fullmatch(repaired) is None:
        raise InvalidInput(name, f"`{name}` {text[:60]!r} is neither RFC 3339 with a zone nor like -24h")
    try:
        return _in_range(to_ms(datetime.fromisoformat(repaired.upper())), text, name)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(name, f"`{name}` {text[:60]!r} is not an instant: {error}") from error


def _in_range(at_ms: int, text: str, name: str) -> int:
    if not 0 <= at_ms <= MAX_AT_MS:
        raise InvalidInput(name, f"`{name}` {text[:60]!r} is not between 1970 and 2100")
    return at_ms


def parse_range(from_text: str | None, to_text: str | None, *, now_ms: int) -> TimeRange:
    """The range asked for; the last 24 hours where nothing is said.

    Raises:
        InvalidInput: an instant is wrong, or `from` is not before `to`.
    """
    to_at = now_ms if to_text is None else parse_instant(to_text, name="to", now_ms=now_ms)
    from_at = max(0, to_at - _UNIT_MS["d"])
    if from_text is not None:
        from_at = parse_instant(from_text, name="from", now_ms=now_ms)
    if from_at >= to_at:
        raise InvalidInput("from", f"`from` ({format_instant(from_at)}) is not before `to` ({format_instant(to_at)})")
    return TimeRange(from_at, to_at)


def format_instant(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, the one form in which the API writes instants."""
    return to_instant(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_day(text: str, *, name: str, today: date) -> date:
    """A local day: `2026-11-23`, `today`, or `-7d`.

    Raises:
        InvalidInput: another form, or a day outside 1970 to 2099.
    """
    try:
        if text == "today":
            day = today
        elif match := re.fullmatch(r"-(\d{1,6})d", text):
            day = today - timedelta(days=int(match[1]))
        elif re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = date.fromisoformat(text)
        else:
            raise InvalidInput(name, f"`{name}` {text[:60]!r} is neither a day like 2026-11-23 nor like -7d")
    except (ValueError, OverflowError) as error:
        raise InvalidInput(name, f"`{name}` {text[:60]!r} is not a day: {error}") from error
    if not 1970 <= day.year <= 2099:
        raise InvalidInput(name, f"`{name}` {text[:60]!r} is not between 1970 and 2099")
    return day


def parse_day_range(from_text: str | None, to_text: str | None, *, today: date) -> tuple[date, date]:
    """First and last local day; the last 30 days where nothing is said.

    Raises:
        InvalidInput: a day is wrong, the first is after the last, or they are more than `MAX_DAYS`.
    """
    last = today if to_text is None else parse_day(to_text, name="to", today=today)
    first = last - timedelta(days=29) if from_text is None else parse_day(from_text, name="from", today=today)
    if first > last:
        raise InvalidInput("from", f"`from` ({first}) is after `to` ({last})")
    if (last - first).days >= MAX_DAYS:
        raise InvalidInput("from", f"{first} to {last} are more than {MAX_DAYS} days")
    return first, last


def local_day(at_ms: int, zone: ZoneInfo) -> date:
    """The local day that an instant is in."""
    return to_instant(at_ms).astimezone(zone).date()


def day_starts_ms(day: date, zone: ZoneInfo) -> int:
    """The first instant of a local day, in ms; 1970-01-01 or later."""
    return max(0, to_ms(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)))
