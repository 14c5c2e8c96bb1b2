"""What a batch of records adds to the read models: the values that folds make and stores write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from domain.clock import to_instant, to_ms
from domain.events import Headers, ReadingRecorded
from domain.wire import MAX_AT_MS
from projections.lifecycle_folds import Decided

Row = tuple[Any, ...]
Boots = dict[tuple[int, int], int]
"""When each boot of each device was, by what its first reading in the log says."""
Place = tuple[str, int]
"""A partition of the log: (topic, partition)."""

_encode = msgspec.json.Encoder().encode


class LogRecord(Protocol):
    """A record as it stands in the log (as aiokafka parses it, too)."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Newest(NamedTuple):
    """A device's newest reading of a batch."""

    measured_at_ms: int
    boot: int
    seq: int
    document: bytes
    """The JSON of its `ReadingRecorded`, dated."""

    def order(self) -> str:
        """Sorts as text as the reading does by time, boot and seq."""
        return f"{self.measured_at_ms:015d}:{self.boot:08x}:{self.seq:015d}"


class Presence(NamedTuple):
    """What a device last said of itself; a last will says nothing but `online`."""

    received_at_ms: int
    online: bool
    boot: str | None
    firmware: str | None
    config: int | None
    retained: bool = False
    """The broker had kept it: if it says nothing new, nobody was heard."""


class Undated(NamedTuple):
    """A reading of a socket without a clock, waiting in `FoldedBatch.readings[row_index]` for its boot's instant."""

    row_index: int
    event: ReadingRecorded
    up_ms: int


class Device(NamedTuple):
    """A device that a batch tells of."""

    device_id: str
    first_seen_at_ms: int


@dataclass(slots=True)
class FoldedBatch:
    """What a batch of records adds to the read models."""

    readings: list[Row] = field(default_factory=list)
    undated: list[Undated] = field(default_factory=list)
    devices: dict[int, Device] = field(default_factory=dict)
    newest: dict[str, Newest] = field(default_factory=dict)
    presences: list[tuple[int, Presence]] = field(default_factory=list)
    """By device, in the order of the log."""
    reports: list[Row] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    next_offsets: dict[Place, int] = field(default_factory=dict)
    records: int = 0
    new_readings: int = -1
    """How many of the readings were not in the table before, once the batch is written (SQLite)."""

    def see(self, device_id: str, device_ref: int, at_ms: int) -> None:
        """Note that the device was there at `at_ms`."""
        seen = self.devices.get(device_ref)
        if seen is None or at_ms < seen.first_seen_at_ms:
            self.devices[device_ref] = Device(device_id, at_ms)


def keep_newest(newest: dict[str, Newest], device_id: str, row: Row, document: bytes) -> None:
    held = newest.get(device_id)
    if held is None or held[:3] < row[1:4]:
        newest[device_id] = Newest(row[1], row[2], row[3], document)


def date_readings(folded: FoldedBatch, boots: Boots) -> Boots:
    """Give readings without a clock their time in place, and return the boots that were new.

    A boot's instant is fixed by the first reading of it in the log, so a replay dates alike; done twice is as once.

    Args:
        boots: instants known so far, by device and boot; the new ones are added.
    """
    found: Boots = {}
    for row_index, event, up_ms in folded.undated:
        row = folded.readings[row_index]
        boot_at_ms = boots.get((row[0], row[2]))
        if boot_at_ms is None:
            boot_at_ms = to_ms(event.measured_at) - up_ms
            boots[row[0], row[2]] = found[row[0], row[2]] = boot_at_ms
        measured_at_ms = min(max(boot_at_ms + up_ms, 0), MAX_AT_MS)
        row = (row[0], measured_at_ms, *row[2:])
        folded.readings[row_index] = row
        held = folded.newest.get(event.device_id)
        if held is None or held[:3] < row[1:4]:
            dated = msgspec.structs.replace(event, measured_at=to_instant(measured_at_ms), up_ms=None)
            folded.newest[event.device_id] = Newest(row[1], row[2], row[3], _encode(dated))
    return found


def bucket_keys(rows: Iterable[Row], width_ms: int) -> set[tuple[int, int]]:
    """The (device, bucket) of these readings."""
    return {(row[0], row[1] - row[1] % width_ms) for row in rows}
