"""What the log itself shows while it is read: doubles, devices that reused an id, and whether order was kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine

from domain.clock import to_instant
from projections.dialect import execute, keys_sql
from projections.folded import FoldedBatch, Row
from projections.lifecycle_audit import LifecycleAudit
from projections.log_reader import Records
from projections.tables import ReadModel

_MOST_FINDINGS = 20
_RECEIVED_AT = 4


@dataclass
class LogAudit:
    """Looks at every batch after it was folded into scratch tables.

    Order means: a device's records stand in one partition, and none of them stands behind a later reading of the same
    boot although it was received before that one. A reading sent again, or kept during an outage and sent afterwards,
    was received later too, so it may stand behind higher numbers; a double of a record may stand anywhere behind it.
    """

    engine: Engine
    model: ReadModel
    lifecycle: LifecycleAudit
    readings: int = 0
    doubles: int = 0
    disorder: str | None = None
    findings: list[str] = field(default_factory=list)
    _partitions: dict[tuple[str, bytes], int] = field(default_factory=dict)
    _highest: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def look_ahead(self, records: Records, folded: FoldedBatch) -> None:
        """Take in one batch before it is written."""
        self._check_partitions(records)
        self.lifecycle.look_ahead(records)
        self.disorder = self.disorder or self.lifecycle.disorder
        suspects = self._find_suspects(folded)
        if suspects and self.disorder is None:
            with self.engine.begin() as connection:
                self.disorder = next((what for row, what in suspects if not self._is_there(connection, row)), None)

    def look(self, _records: Records, folded: FoldedBatch) -> None:
        """Take in one batch after it was written."""
        self.readings += len(folded.readings)
        self.doubles += len(folded.readings) - folded.new_readings
        if folded.new_readings < len(folded.readings):
            self._find_changed_content(folded)
        if folded.decided:
            with self.engine.begin() as connection:
                self.lifecycle.look(connection, folded)

    def _check_partitions(self, records: Records) -> None:
        for (topic, partition), some in records.items():
            for key in {record.key for record in some if record.key}:
                other = self._partitions.setdefault((topic, key), partition)
                if other != partition and self.disorder is None:
                    self.disorder = (
                        f"{key.decode(errors='replace')} stands in partitions {other} and {partition} of {topic}"
                    )

    def _find_suspects(self, folded: FoldedBatch) -> list[tuple[Row, str]]:
        """Readings behind a later one of their boot that was received after them, the first of each in this batch."""
        highest = self._highest
        suspects: list[tuple[Row, str]] = []
        seen: set[Row] = set()
        for row in folded.readings:
            key = row[0], row[2]
            seq, received_at_ms = row[3], row[_RECEIVED_AT]
            held = highest.get(key)
            if held is None or seq > held[0]:
                highest[key] = seq, received_at_ms
            elif received_at_ms < held[1] and seq < held[0] and row[:4] not in seen:
                suspects.append((row, _disorder(folded.devices[row[0]].device_id, row, held)))
            seen.add(row[:4])
        return suspects

    def _is_there(self, connection: Connection, row: Row) -> bool:
        """Whether this is a double: a record appended twice because its first acknowledgement was lost."""
        sql = (
            f"SELECT 1 FROM {self.model.readings.name} WHERE device_ref = {row[0]} AND boot = {row[2]} "
            f"AND seq = {row[3]} AND received_at_ms = {row[_RECEIVED_AT]} LIMIT 1"
        )
        return execute(connection, sql).scalar() is not None

    def _find_changed_content(self, folded: FoldedBatch) -> None:
        """Readings that stand in the log twice must say the same; a resend differs in when it was received only."""
        with self.engine.begin() as connection:
            for start in range(0, len(folded.readings), 200):
                rows = folded.readings[start : start + 200]
                stored = self._stored(connection, rows)
                for row in rows:
                    first = stored[row[:4]]
                    if _content(first) != _content(row):
                        self._find(folded, row, f"said {_content(first)} first and {_content(row)} later")

    def _stored(self, connection: Connection, rows: list[Row]) -> dict[Row, Row]:
        keys = keys_sql(connection, [row[:4] for row in rows])
        sql = f"SELECT * FROM {self.model.readings.name} WHERE (device_ref, measured_at_ms, boot, seq) IN {keys}"
        return {tuple(row[:4]): tuple(row) for row in execute(connection, sql)}

    def _find(self, folded: FoldedBatch, row: Row, what: str) -> None:
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(f"{folded.devices[row[0]].device_id}: boot {row[2]:08x} seq {row[3]} {what}")

    def find_reused_ids(self) -> None:
        """List the ids that stand in the log with several times of measurement."""
        name = self.model.readings.name
        sql = (
            f"SELECT d.device_id, r.boot, r.seq, COUNT(*), MIN(r.measured_at_ms), MAX(r.measured_at_ms) FROM {name} r "
            f"JOIN {self.model.devices.name} d ON d.device_ref = r.device_ref GROUP BY d.device_id, r.boot, r.seq "
            f"HAVING COUNT(*) > 1 ORDER BY 1, 2, 3 LIMIT {_MOST_FINDINGS}"
        )
        with self.engine.begin() as connection:
            for device_id, boot, seq, count, first_ms, last_ms in execute(connection, sql):
                self.findings.append(
                    f"{device_id}: boot {boot:08x} seq {seq} was used for {count} readings, measured from "
                    f"{to_instant(first_ms).isoformat()} to {to_instant(last_ms).isoformat()}"
                )


def _content(row: Row) -> Row:
    return row[_RECEIVED_AT + 1 :]


def _disorder(device_id: str, row: Row, held: tuple[int, int]) -> str:
    received_at, later_at = (to_instant(at_ms).isoformat() for at_ms in (row[_RECEIVED_AT], held[1]))
    return (
        f"{device_id}: boot {row[2]:08x} seq {row[3]}, received at {received_at}, stands behind seq {held[0]}, "
        f"received at {later_at}"
    )
