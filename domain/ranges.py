"""Sequence numbers as closed ranges: how a receipt names many readings in few bytes."""

from __future__ import annotations

from collections.abc import Iterable


def to_ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """The sorted, disjoint, closed ranges that hold exactly `numbers` (order and repeats do not matter)."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
