"""Comparing two generations of a table, wherever they are: a hash of each, and the first difference by name."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table

from domain.clock import to_instant
from projections.folded import Row
from projections.tables import ReadModel

_CHUNK = 5000
Keep = Callable[[Row], bool]


class Difference(NamedTuple):
    """Where live and rebuilt tables part first."""

    table: str
    where: str
    field: str
    live: object
    rebuilt: object

    def __str__(self) -> str:
        return f"{self.table}: {self.where}: {self.field} is {self.live!r} live and {self.rebuilt!r} by the log"


class Compared(NamedTuple):
    """One table on both sides."""

    table: str
    rows: int
    live_hash: str
    rebuilt_hash: str
    difference: Difference | None


class Side(NamedTuple):
    """A generation of the tables in a database."""

    connection: Connection
    model: ReadModel

    def rows(self, name: str, keep: Keep | None) -> Iterator[Row]:
        """The table's rows by primary key, streamed."""
        table = self.table(name)
        columns = ", ".join(column.name for column in table.columns)
        key = ", ".join(column.name for column in table.primary_key.columns)
        sql = f"SELECT {columns} FROM {table.name} ORDER BY {key}"
        options = {"no_parameters": True, "stream_results": True}
        result = self.connection.exec_driver_sql(sql, execution_options=options)
        try:
            while chunk := result.fetchmany(_CHUNK):
                for row in chunk:
                    plain = tuple(row)
                    if keep is None or keep(plain):
                        yield plain
        finally:
            result.close()

    def table(self, name: str) -> Table:
        suffix = self.model.suffix
        return self.model.metadata.tables[f"{name}_{suffix}" if suffix else name]


def compare_table(name: str, live: Side, rebuilt: Side, device_ids: dict[int, str], keep: Keep | None) -> Compared:
    """Both sides' hashes and the first difference (the hashes then reach as far as that one's chunk)."""
    hashes = blake2b(digest_size=8), blake2b(digest_size=8)
    streams = live.rows(name, keep), rebuilt.rows(name, keep)
    count = 0
    difference = None
    while difference is None:
        chunks = [list(islice(stream, _CHUNK)) for stream in streams]
        if not any(chunks):
            break
        for hashed, chunk in zip(hashes, chunks, strict=True):
            hashed.update(marshal.dumps(chunk, 2))
        if chunks[0] != chunks[1]:
            difference = _first_difference(live.table(name), name, chunks[0], chunks[1], device_ids)
        count += len(chunks[0])
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    return Compared(name, count, hashes[0].hexdigest(), hashes[1].hexdigest(), difference)


def _first_difference(
    table: Table, name: str, live: list[Row], rebuilt: list[Row], device_ids: dict[int, str]
) -> Difference:
    keys = len(table.primary_key.columns)
    names = [column.name for column in table.columns]
    at = next((n for n, (a, b) in enumerate(zip(live, rebuilt, strict=False)) if a != b), min(len(live), len(rebuilt)))
    ours = live[at] if at < len(live) else None
    theirs = rebuilt[at] if at < len(rebuilt) else None
    if ours is not None and theirs is not None and ours[:keys] == theirs[:keys]:
        column = next(n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        return Difference(name, _where(names, ours, keys, device_ids), names[column], ours[column], theirs[column])
    if theirs is None or (ours is not None and ours[:keys] < theirs[:keys]):
        return Difference(name, _where(names, ours or (), keys, device_ids), "the row", "there", "missing")
    return Difference(name, _where(names, theirs, keys, device_ids), "the row", "missing", "there")


def _where(names: list[str], row: Row, keys: int, device_ids: dict[int, str]) -> str:
    return ", ".join(_spell(name, value, device_ids) for name, value in zip(names[:keys], row[:keys], strict=True))


def _spell(name: str, value: Any, device_ids: dict[int, str]) -> str:
    if name == "device_ref":
        return f"device {device_ids.get(value, f'with surrogate {value}')}"
    if name.endswith("_at_ms"):
        return f"{name.removesuffix('_ms')} {to_instant(value).isoformat()}"
    return f"boot {value:08x}" if name == "boot" else f"{name} {value}"


def device_ids(*sides: Side) -> dict[int, str]:
    """Surrogate → id of every device on any side."""
    return {row[0]: row[1] for side in sides for row in side.rows("devices", None)}
