"""Writing a batch into the read models: one transaction with the positions, so each record counts exactly once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from sqlalchemy import Connection, Engine, or_, select

from domain.clock import Clock
from domain.errors import WattAwayError
from projections.dialect import execute, insert_new, keys_sql, put, translated_errors
from projections.folded import Boots, Device, FoldedBatch, Place, Presence, Row, bucket_keys, date_readings
from projections.lifecycle_store import write_decided
from projections.positions import Position, advance_positions
from projections.rollups import QUARTER_MS
from projections.tables import ReadModel

Step = Callable[[str], None]
_MAX_REMEMBERED = 500_000


class DeviceRefTaken(WattAwayError):
    """The surrogates of these devices belong to others (a collision): fold the batch again without them."""

    def __init__(self, device_ids: frozenset[str]) -> None:
        super().__init__(f"{sorted(device_ids)} have the surrogates of other devices")
        self.device_ids = device_ids


@dataclass
class _Remembered:
    """What is known to be in the tables, so that it need not be written again. Only what was committed gets in."""

    marks: set[tuple[int, int]] = field(default_factory=set)
    devices: dict[int, Device] = field(default_factory=dict)
    boots: Boots = field(default_factory=dict)

    def trim(self, now_ms: int) -> None:
        self.marks = {key for key in self.marks if key[1] + QUARTER_MS > now_ms}
        for remembered in (self.devices, self.boots):
            if len(remembered) > _MAX_REMEMBERED:
                remembered.clear()


class Store:
    """The read models of one generation, as their one writer per partition sees them. Blocking: call it in a thread.

    Args:
        on_step: called between the steps of a transaction; tests make it raise or kill.
        mark_dirty: false in a rebuild, which computes all rollups at its end.
    """

    def __init__(
        self,
        engine: Engine,
        model: ReadModel,
        group: str,
        clock: Clock,
        *,
        on_step: Step = lambda _step: None,
        mark_dirty: bool = True,
    ) -> None:
        self.engine, self.model, self.group = engine, model, group
        self._clock, self._on_step, self._mark_dirty = clock, on_step, mark_dirty
        self._remembered = _Remembered()
        self._trimmed_at_ms = 0

    def forget(self) -> None:
        """Forget what is known of the tables: others have written to them."""
        self._remembered = _Remembered()

    def commit(self, batch: FoldedBatch, held: Mapping[Place, Position]) -> dict[str, Presence]:
        """Write the batch and move its positions on; the new presence of each device that told of it.

        Raises:
            PositionFenced: another has moved a position; nothing is written. Read the positions again.
            DeviceRefTaken: nothing is written; fold the batch again without these devices.
            DependencyUnavailable: nothing is written, or the answer to the commit was lost. Try the same again: if
                it was written after all, that is then fenced.
        """
        learned = _Remembered()
        with translated_errors():
            with self.engine.begin() as connection:
                advance_positions(connection, self.model, self.group, held, batch.next_offsets)
                self._on_step("positions moved")
                presences = self._write(connection, batch, learned)
                self._on_step("rows written")
            self._on_step("committed")
        self._remember(learned)
        return presences

    def _write(self, connection: Connection, batch: FoldedBatch, learned: _Remembered) -> dict[str, Presence]:
        model = self.model
        # Read after the positions' rows are locked: see recompute.py.
        now_ms = self._clock.now_ms()
        self._put_devices(connection, batch.devices, learned)
        self._date(connection, batch, learned)
        batch.new_readings = insert_new(connection, model.readings, batch.readings)
        self._on_step("readings written")
        if self._mark_dirty:
            self._mark(connection, batch.readings, now_ms, learned)
        put(connection, model.device_reports, batch.reports, replace=False)
        put(connection, model.dead_letters, batch.dead_letters, replace=False)
        if batch.decided:
            write_decided(connection, model, batch.decided)
            self._on_step("decisions written")
        return self._put_presences(connection, batch)

    def _put_devices(self, connection: Connection, devices: Mapping[int, Device], learned: _Remembered) -> None:
        known = self._remembered.devices
        told = {ref: device for ref, device in devices.items() if _tells_more(device, known.get(ref))}
        if not told:
            return
        table = self.model.devices
        refs = sorted(told)
        rows = [(ref, told[ref].device_id, told[ref].first_seen_at_ms, *[None] * 5) for ref in refs]
        put(connection, table, rows, replace=False)
        for start in range(0, len(refs), 1000):
            query = select(table.c.device_ref, table.c.device_id, table.c.first_seen_at_ms)
            for row in connection.execute(query.where(table.c.device_ref.in_(refs[start : start + 1000]))):
                learned.devices[row[0]] = Device(row[1], row[2])
        taken = {told[ref].device_id for ref in refs if told[ref].device_id != learned.devices[ref].device_id}
        if taken:
            raise DeviceRefTaken(frozenset(taken))
        for ref in refs:
            if told[ref].first_seen_at_ms < learned.devices[ref].first_seen_at_ms:
                values = {"first_seen_at_ms": told[ref].first_seen_at_ms}
                connection.execute(table.update().where(table.c.device_ref == ref).values(values))
                learned.devices[ref] = told[ref]

    def _date(self, connection: Connection, batch: FoldedBatch, learned: _Remembered) -> None:
        """Give the readings without a clock their time, by the boots stored before."""
        if not batch.undated:
            return
        wanted = {(batch.readings[one.row_index][0], batch.readings[one.row_index][2]) for one in batch.undated}
        known = {key: at_ms for key, at_ms in self._remembered.boots.items() if key in wanted}
        missing = sorted(wanted - known.keys())
        for start in range(0, len(missing), 400):
            keys = keys_sql(connection, missing[start : start + 400])
            sql = f"SELECT device_ref, boot, boot_at_ms FROM {self.model.boots.name} WHERE (device_ref, boot) IN {keys}"
            known.update({(row[0], row[1]): row[2] for row in execute(connection, sql)})
        found = date_readings(batch, known)
        insert_new(connection, self.model.boots, [(*key, at_ms) for key, at_ms in sorted(found.items())])
        learned.boots.update(known)

    def _mark(self, connection: Connection, readings: list[Row], now_ms: int, learned: _Remembered) -> None:
        """Mark the buckets of these readings as dirty, but not those marked before that are still open."""
        keys = bucket_keys(readings, QUARTER_MS)
        marked = {key for key in keys & self._remembered.marks if key[1] + QUARTER_MS > now_ms}
        insert_new(connection, self.model.dirty_buckets, sorted(keys - marked))
        learned.marks.update(key for key in keys - marked if key[1] + QUARTER_MS > now_ms)
        self._on_step("buckets marked")

    def _put_presences(self, connection: Connection, batch: FoldedBatch) -> dict[str, Presence]:
        told: dict[str, Presence] = {}
        table = self.model.devices
        for ref, presence in sorted(batch.presences, key=itemgetter(0)):
            holds = or_(table.c.presence_at_ms.is_(None), table.c.presence_at_ms <= presence.received_at_ms)
            says = {name: value for name, value in presence._asdict().items() if name in _KEPT and value is not None}
            if presence.retained:
                holds &= or_(*(table.c[name].is_distinct_from(value) for name, value in says.items()))
            says["presence_at_ms"] = presence.received_at_ms
            connection.execute(table.update().where(table.c.device_ref == ref, holds).values(says))
        told_of = sorted({ref for ref, _ in batch.presences})
        for start in range(0, len(told_of), 1000):
            refs = told_of[start : start + 1000]
            columns = table.c.device_id, table.c.presence_at_ms, *(table.c[name] for name in _KEPT)
            for row in connection.execute(select(*columns).where(table.c.device_ref.in_(refs))):
                told[row[0]] = Presence(*row[1:])
        return told

    def _remember(self, learned: _Remembered) -> None:
        now_ms = self._clock.now_ms()
        if now_ms - self._trimmed_at_ms > QUARTER_MS // 15:
            self._remembered.trim(now_ms)
            self._trimmed_at_ms = now_ms
        self._remembered.marks |= learned.marks
        self._remembered.devices |= learned.devices
        self._remembered.boots |= learned.boots


_KEPT = ("online", "boot", "firmware", "config")


def _tells_more(device: Device, known: Device | None) -> bool:
    return known is None or device.first_seen_at_ms < known.first_seen_at_ms or device.device_id != known.device_id
