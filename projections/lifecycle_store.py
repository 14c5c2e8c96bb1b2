"""Writing what was decided, inside a batch's transaction: each event once, however often it stands in the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, Table, and_, func, select

from projections.dialect import put
from projections.lifecycle_changes import Change
from projections.lifecycle_folds import Decided, Key, Rows, apply_changes
from projections.tables import ReadModel

_IDS_PER_STATEMENT = 500


def write_decided(connection: Connection, model: ReadModel, decided: Sequence[Decided]) -> None:
    """Apply those of these events that are news, in their order, and audit them.

    An aggregate's events stand in the log in the order of their versions, so one that is not above the highest there
    is a double. The audit log holds all of them, and so knows the highest.
    """
    news = list(_news(connection, model.lifecycle.audit_log, decided))
    put(connection, model.lifecycle.audit_log, [one.audit_row for one in decided], replace=False)
    put(connection, model.dead_letters, [one.failure for one in news if one.failure], replace=False)
    changes = sorted((change for one in news for change in one.changes), key=attrgetter("table"))
    for name, some in groupby(changes, attrgetter("table")):
        _change_table(connection, getattr(model.lifecycle, name), list(some))


def _news(connection: Connection, audit_log: Table, decided: Sequence[Decided]) -> Iterator[Decided]:
    columns = audit_log.c
    highest: dict[str, int] = {}
    for ids in _parts(sorted({one.originator_id for one in decided})):
        query = select(columns.originator_id, func.max(columns.version)).where(columns.originator_id.in_(ids))
        highest.update((row[0], row[1]) for row in connection.execute(query.group_by(columns.originator_id)))
    for one in decided:
        if one.version > highest.get(one.originator_id, 0):
            highest[one.originator_id] = one.version
            yield one


def _change_table(connection: Connection, table: Table, changes: Sequence[Change]) -> None:
    """Read the rows that these are about, change them, and write those that are different now."""
    before = _rows_of(connection, table, sorted({change.key[0] for change in changes}))
    after = {key: dict(row) for key, row in before.items()}
    apply_changes(after, changes)
    names = [column.name for column in table.columns][len(table.primary_key.columns) :]
    rows = [(*key, *(row.get(name) for name in names)) for key, row in sorted(after.items()) if row != before.get(key)]
    put(connection, table, rows, replace=True)
    for key in sorted(before.keys() - after.keys()):
        is_it = [column == part for column, part in zip(table.primary_key.columns, key, strict=True)]
        connection.execute(table.delete().where(and_(*is_it)))


def _rows_of(connection: Connection, table: Table, owners: Sequence[str]) -> Rows:
    """The rows whose key begins with one of these."""
    keys = len(table.primary_key.columns)
    names = [column.name for column in table.columns][keys:]
    owner = next(iter(table.primary_key.columns))
    found: Rows = {}
    for ids in _parts(owners):
        for row in connection.execute(select(table).where(owner.in_(ids))):
            key: Key = tuple(row[:keys])
            found[key] = dict(zip(names, row[keys:], strict=True))
    return found


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        yield ids[start : start + _IDS_PER_STATEMENT]
