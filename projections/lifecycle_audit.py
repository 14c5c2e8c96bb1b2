"""What the lifecycle topic shows as it is read: whether each aggregate's events are all there, once and in order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlalchemy import Connection, select, tuple_

from projections.folded import FoldedBatch
from projections.log_reader import Records
from projections.tables import ReadModel

_MOST_FINDINGS = 20
_is_event_id = re.compile(r"([0-9a-f-]{36}):([1-9][0-9]{0,18})").fullmatch
_KEYS_PER_STATEMENT = 200


@dataclass
class LifecycleAudit:
    """Looks at every batch of the lifecycle topic.

    Order means: an aggregate's versions begin with 1 and grow by 1. The relay may carry an event twice, but never one
    before those below it, so a double stands behind its first and says the same.

    Args:
        topic: with its prefix.
    """

    topic: str
    model: ReadModel
    disorder: str | None = None
    findings: list[str] = field(default_factory=list)
    _highest: dict[str, int] = field(default_factory=dict)
    _doubles: set[tuple[str, int]] = field(default_factory=set)

    def look_ahead(self, records: Records) -> None:
        """Take in one batch before it is written. By the `ce_id`, which poison may have too."""
        self._doubles = set()
        for (topic, _), some in records.items():
            if topic == self.topic:
                for record in some:
                    self._take(dict(record.headers).get("ce_id") or b"")

    def _take(self, event_id: bytes) -> None:
        found = _is_event_id(event_id.decode("ascii", "replace"))
        if found is None:
            return
        aggregate_id, version = found[1], int(found[2])
        highest = self._highest.get(aggregate_id, 0)
        if version <= highest:
            self._doubles.add((aggregate_id, version))
            return
        if version > highest + 1 and self.disorder is None:
            self.disorder = f"{aggregate_id}: version {version} stands in {self.topic} behind version {highest}"
        self._highest[aggregate_id] = version

    def look(self, connection: Connection, folded: FoldedBatch) -> None:
        """Take in one batch after it was written: whoever stands there twice must say the same."""
        doubles = [one for one in folded.decided if (one.originator_id, one.version) in self._doubles]
        table = self.model.lifecycle.audit_log
        key = tuple_(table.c.originator_id, table.c.version)
        for start in range(0, len(doubles), _KEYS_PER_STATEMENT):
            some = doubles[start : start + _KEYS_PER_STATEMENT]
            wanted = select(table).where(key.in_([(one.originator_id, one.version) for one in some]))
            stored = {(row[0], row[1]): tuple(row) for row in connection.execute(wanted)}
            for one in some:
                if stored[one.originator_id, one.version] != one.audit_row and len(self.findings) < _MOST_FINDINGS:
                    self.findings.append(
                        f"{one.originator_id} version {one.version} stands in the log with two contents"
                    )
