"""Measured traces as CSV: rows in order of time, and what was wrong with the lines that are not among them.

Columns are found by name; unknown ones are ignored:

| column | meaning |
|---|---|
| `ts` | when the row was measured (or its window began): RFC 3339 with its zone, or s (or ms) since 1970 UTC |
| `device_id` | 1 to 64 of `A-Z a-z 0-9 _ -` |
| `power_w` | active power, W (the mean, if the row stands for a window) |
| `energy_wh` | optional: the meter's lifetime counter, Wh |
| `wh` | optional: the energy of this row's window alone, Wh; the counter is built from it |
| `voltage_v` | optional: V, RMS |

With `energy_wh` the counter is the meter's own. Without it, it is the sum of `wh`; without that too, the integral of
`power_w`, in which a gap of more than 5 min counts nothing.

A row is one line: a quote that is not closed costs its own line only.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import io
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

from domain.clock import to_ms
from domain.device_ids import parse_device_id
from domain.errors import InvalidInput, SettingInvalid
from domain.wire import MAX_AT_MS, MAX_ENERGY_MWH, MAX_POWER_MW, MAX_VOLTAGE_MV

REORDER_ROWS = 20_000
"""So many rows a row may stand too late; also what is kept in memory."""
LONGEST_LINE = 10_000
"""In characters; of a longer one no more than that is in memory at a time."""
MICRO = 1_000_000
NEEDED = ("ts", "device_id", "power_w")
NUMBERS = {
    "power_w": MAX_POWER_MW / 1000,
    "energy_wh": MAX_ENERGY_MWH / 1000,
    "wh": MAX_POWER_MW / 1000 * 24,
    "voltage_v": MAX_VOLTAGE_MV / 1000,
}


class TraceRow(NamedTuple):
    """One row; sorts by time."""

    at_ms: int
    device_id: str
    line: int
    power_mw: int
    voltage_mv: int | None
    energy_mwh: int | None
    window_uwh: int | None


class LineError(NamedTuple):
    """What is wrong with a line, and where."""

    line: int
    column: str
    detail: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.detail}"


_UNREADABLE = (OSError, EOFError, zlib.error)
OnError = Callable[[LineError], None]


class _ColumnError(Exception):
    """A value that cannot be taken: its column and why."""


def check_trace(path: Path) -> None:
    """Return if the file can be read and has the needed columns.

    Raises:
        SettingInvalid: it cannot, or has not.
    """
    with _open(path) as lines:
        _columns(path, lines)


def read_trace(path: Path, on_error: OnError) -> Iterator[TraceRow]:
    """The rows of a CSV file (gzip if it ends in `.gz`), per device strictly in order of time.

    A row may stand up to `REORDER_ROWS` rows later than its place. Memory is bounded by that, whatever the file's size.

    Raises:
        SettingInvalid: no such file, not readable as text or gzip, or a needed column is missing.
    """
    last_at_ms: dict[str, int] = {}
    for row in _in_order(_parse(path, on_error)):
        if row.at_ms <= last_at_ms.get(row.device_id, -1):
            twice = row.at_ms == last_at_ms[row.device_id]
            why = "this device has a row of the same instant" if twice else "stands too late to be put in order"
            on_error(LineError(row.line, "ts", why))
            continue
        last_at_ms[row.device_id] = row.at_ms
        yield row


def _in_order(rows: Iterable[TraceRow]) -> Iterator[TraceRow]:
    heap: list[TraceRow] = []
    for row in rows:
        if len(heap) < REORDER_ROWS:
            heapq.heappush(heap, row)
        else:
            yield heapq.heappushpop(heap, row)
    while heap:
        yield heapq.heappop(heap)


def _parse(path: Path, on_error: OnError) -> Iterator[TraceRow]:
    with _open(path) as lines:
        columns = _columns(path, lines)
        for line in count(2):
            try:
                fields = _fields(next(lines))
                if fields:
                    yield _row({name: fields[at] for name, at in columns.items() if at < len(fields)}, line)
            except StopIteration:
                return
            except csv.Error as error:
                on_error(LineError(line, "-", str(error)))
            except _UNREADABLE as error:
                on_error(LineError(line, "-", f"cannot be read on from here: {error}"))
                return
            except _ColumnError as error:
                column, why = error.args
                on_error(LineError(line, column, why))


def _fields(line: str) -> list[str]:
    if len(line.rstrip("\n")) > LONGEST_LINE:
        raise csv.Error(f"is longer than {LONGEST_LINE:,} characters")
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        if "unexpected end" not in str(error):
            raise
        raise csv.Error("a quote is not closed where the line ends") from None


def _columns(path: Path, lines: Iterator[str]) -> dict[str, int]:
    try:
        header = [name.strip().lower().lstrip("\ufeff") for name in _fields(next(lines, ""))]
    except csv.Error as error:
        raise SettingInvalid(f"{path}, line 1: {error}") from error
    missing = [name for name in NEEDED if name not in header]
    if missing:
        found = ", ".join(header)[:200] or "nothing"
        raise SettingInvalid(f"{path}, line 1: no column {', '.join(missing)} (found: {found})")
    return {name: header.index(name) for name in (*NEEDED, *NUMBERS) if name in header}


def _row(values: dict[str, str], line: int) -> TraceRow:
    for name in NEEDED:
        if not values.get(name, "").strip():
            raise _ColumnError(name, "is empty")
    try:
        device_id = parse_device_id(values["device_id"].strip())
    except InvalidInput as error:
        raise _ColumnError("device_id", error.detail) from error
    numbers = {name: _number(name, values.get(name, "").strip()) for name in NUMBERS}
    power_w, energy_wh, window_wh, voltage_v = (numbers[name] for name in NUMBERS)
    return TraceRow(
        _instant_ms(values["ts"].strip()),
        device_id,
        line,
        round((power_w or 0) * 1000),
        None if voltage_v is None else round(voltage_v * 1000),
        None if energy_wh is None else round(energy_wh * 1000),
        None if window_wh is None else round(window_wh * MICRO),
    )


def _number(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace("_", "?"))  # Python's 1_000 is nobody else's
    except ValueError:
        raise _ColumnError(name, f"{text[:40]!r} is not a number") from None
    if not math.isfinite(value) or not 0 <= value <= NUMBERS[name]:
        raise _ColumnError(name, f"{text[:40]} is not between 0 and {NUMBERS[name]:,.0f}")
    return value


def _instant_ms(text: str) -> int:
    try:
        at_ms = _epoch_ms(float(text)) if text.replace(".", "", 1).isdecimal() else _zoned_ms(text)
    except (ValueError, OverflowError):
        raise _ColumnError("ts", f"{text[:40]!r} is neither RFC 3339 nor seconds since 1970") from None
    if not 0 <= at_ms <= MAX_AT_MS:
        raise _ColumnError("ts", f"{text[:40]} is not between 1970 and 2100")
    return at_ms


def _epoch_ms(number: float) -> int:
    """Seconds or milliseconds: 10¹¹ s would be the year 5138, 10¹¹ ms is 1973."""
    return round(number) if number >= 1e11 else round(number * 1000)


def _zoned_ms(text: str) -> int:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise _ColumnError("ts", f"{text[:40]} has no zone: write Z for UTC, or an offset such as +02:00")
    return to_ms(instant)


@contextmanager
def _open(path: Path) -> Iterator[Iterator[str]]:
    try:
        with path.open("rb") as raw:
            unpacked = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            with io.TextIOWrapper(unpacked, encoding="utf-8", errors="replace") as text:
                yield _lines(text)
    except _UNREADABLE as error:
        raise SettingInvalid(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines; of one longer than `LONGEST_LINE` only the beginning, one character longer than that."""
    while line := text.readline(LONGEST_LINE + 1):
        rest = line
        while rest and not rest.endswith("\n"):
            rest = text.readline(LONGEST_LINE)
        yield line
