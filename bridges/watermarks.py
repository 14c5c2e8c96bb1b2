"""Up to where each partition is done with: what lies before it need never be read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Place = tuple[str, int]
"""Topic and partition."""


class Watermarks:
    """The records under way in each partition; the oldest of them is where a restart has to begin."""

    def __init__(self) -> None:
        self._next: dict[Place, int] = {}
        self._under_way: dict[Place, OrderedDict[int, None]] = {}

    def begin(self, place: Place, offset: int) -> None:
        """This record is under way until `done`; records of a partition come in order."""
        self._under_way.setdefault(place, OrderedDict())[offset] = None

    def done(self, place: Place, offset: int) -> None:
        """Nothing is left to do for this record; harmless if its partition is somebody else's meanwhile."""
        if place in self._under_way:
            self._under_way[place].pop(offset, None)

    @contextmanager
    def finishing(self, place: Place, offset: int) -> Iterator[None]:
        """The record needs nothing more after the block, unless this process ends within it (is cancelled, too)."""
        try:
            yield
        except Exception:
            self.done(place, offset)
            raise
        self.done(place, offset)

    def reached(self, place: Place, next_offset: int) -> None:
        """All records before `next_offset` have been read."""
        self._next[place] = next_offset

    def positions(self) -> dict[Place, int]:
        """By partition: the oldest record under way, or the next one to read."""
        return {place: next(iter(self._under_way.get(place, ())), after) for place, after in self._next.items()}

    def forget(self, places: Iterable[Place]) -> None:
        """These partitions are no longer ours."""
        for place in places:
            self._next.pop(place, None)
            self._under_way.pop(place, None)
