"""A list of sockets to be registered, as CSV; every line that is wrong is named."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from pydantic import ValidationError

from api.schemas_sockets import NewDevice
from domain.errors import InvalidInput, WattAwayError
from domain.lifecycle.access import Access
from domain.lifecycle.sockets import RESERVED_DEVICE_IDS
from domain.lifecycle.sockets import NewDevice as Wanted

MOST_LINES = 5_000
COLUMNS = ("device_id", "name", "location")
_MOST_ERRORS = 100
_LONGEST_CELL = 400


class LinesWrong(WattAwayError):
    """Some lines are wrong; `lines` are their numbers, as an editor counts them, with what is wrong."""

    def __init__(self, lines: list[tuple[int, str]], more: int) -> None:
        rest = f", and {more} more" if more else ""
        super().__init__("; ".join(f"line {number}: {text}" for number, text in lines[:5]) + rest)
        self.lines = lines


def read_devices(body: bytes, access: Access, tenant_id: str) -> list[Wanted]:
    """The sockets in a CSV file with the columns `device_id,name,location`; the last may be empty or left out.

    Raises:
        InvalidInput: it is no such file, or has too many lines.
        LinesWrong: some of its lines are wrong.
    """
    devices: list[Wanted] = []
    wrong: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    for number, cells in _rows(body):
        if len(devices) + len(wrong) >= MOST_LINES:
            raise InvalidInput("body", f"more than {MOST_LINES} devices; register them in several files")
        wanted, complaint = _read_row(cells)
        if wanted is not None:
            complaint = _taken(wanted.device_id, seen, access, tenant_id)
            seen.setdefault(wanted.device_id, number)
        if complaint is not None:
            wrong.append((number, complaint))
        elif wanted is not None:
            devices.append(wanted)
    if wrong:
        raise LinesWrong(wrong[:_MOST_ERRORS], max(0, len(wrong) - 5))
    if not devices:
        raise InvalidInput("body", "there is no device in this file")
    return devices


def _rows(body: bytes) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, with the number of the line where each ends."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("body", f"byte {error.start} is not UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        if header not in (list(COLUMNS), list(COLUMNS[:2])):
            raise InvalidInput("body", f"line 1 must be `{','.join(COLUMNS)}`")
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise InvalidInput("body", f"line {reader.line_num}: {error}") from error


def _read_row(cells: list[str]) -> tuple[Wanted | None, str | None]:
    if not 2 <= len(cells) <= len(COLUMNS):
        return None, f"{len(cells)} cells instead of {len(COLUMNS)}"
    given = {name: cell.strip()[:_LONGEST_CELL] for name, cell in zip(COLUMNS, cells, strict=False)}
    try:
        new = NewDevice.model_validate({**given, "location": given.get("location") or None})
    except ValidationError as error:
        return None, "; ".join(f"`{e['loc'][0]}`: {e['msg']}" for e in error.errors())
    return Wanted(new.device_id, new.name, new.location), None


def _taken(device_id: str, seen: dict[str, int], access: Access, tenant_id: str) -> str | None:
    if device_id in seen:
        return f"{device_id!r} stands in line {seen[device_id]} already"
    if device_id in RESERVED_DEVICE_IDS:
        return f"{device_id!r} is a user of the MQTT broker; choose another id"
    known = access.devices.get(device_id)
    if known is not None and (known.commissioned or known.tenant_id != tenant_id):
        return f"{device_id!r} is registered already, here or by another tenant"
    return None
