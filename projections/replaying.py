"""Folding a stretch of the log into one generation of tables, reading ahead while SQL writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from domain.backoff import Backoff
from domain.errors import DependencyUnavailable, PositionFenced
from projections.dialect import translated_errors
from projections.folded import FoldedBatch, Place
from projections.folds import fold_records
from projections.log_reader import LogReader, Records
from projections.positions import Position, read_positions
from projections.store import DeviceRefTaken, Store

_TRIES = 8

OnBatch = Callable[[Records, FoldedBatch], None]


class Replay:
    """Fills the tables of `store` from the log.

    Args:
        before_batch: called in a thread before each batch is written.
        on_batch: the same after it, with its readings dated.
    """

    def __init__(
        self,
        reader: LogReader,
        store: Store,
        positions: Mapping[Place, Position],
        *,
        prefix: str,
        before_batch: OnBatch = lambda _records, _folded: None,
        on_batch: OnBatch = lambda _records, _folded: None,
    ) -> None:
        self._reader, self._store, self._prefix = reader, store, prefix
        self._before_batch, self._on_batch = before_batch, on_batch
        self._refused: frozenset[str] = frozenset()
        self.positions = dict(positions)
        self.records = 0

    async def advance(self, ends: Mapping[Place, int]) -> None:
        """Fold everything before these ends.

        Raises:
            DependencyUnavailable: Kafka or SQL, for longer than some tries take.
            PositionFenced: another fills these tables.
        """
        starts = {place: position.next_offset for place, position in self.positions.items()}
        writing: asyncio.Task[None] | None = None
        try:
            async for records in self._reader.batches(starts, ends):
                folded = fold_records(records, prefix=self._prefix, refused=self._refused)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write(records, folded))
        finally:
            if writing is not None:
                await writing

    async def _write(self, records: Records, folded: FoldedBatch) -> None:
        backoff = Backoff()
        await asyncio.to_thread(self._before_batch, records, folded)
        for attempt in range(_TRIES):
            try:
                await asyncio.to_thread(self._commit, folded)
                break
            except DeviceRefTaken as error:
                self._refused |= error.device_ids
                folded = fold_records(records, prefix=self._prefix, refused=self._refused)
            except DependencyUnavailable:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(backoff.delay_s())
        for place, offset in folded.next_offsets.items():
            self.positions[place] = self.positions[place]._replace(next_offset=offset)
        self.records += folded.records
        await asyncio.to_thread(self._on_batch, records, folded)

    def _commit(self, folded: FoldedBatch) -> None:
        try:
            self._store.commit(folded, self.positions)
        except PositionFenced:
            if not self._is_written(folded):
                raise

    def _is_written(self, folded: FoldedBatch) -> bool:
        """Whether it is this batch that has moved the positions on: the answer to its commit was lost."""
        with translated_errors(), self._store.engine.begin() as connection:
            stored = read_positions(connection, self._store.model, self._store.group)
        moved = {place: self.positions[place]._replace(next_offset=to) for place, to in folded.next_offsets.items()}
        return moved.items() <= stored.items()
