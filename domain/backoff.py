"""Waiting between attempts: longer each time, and never in step with others."""

from __future__ import annotations

import random


class Backoff:
    """Delays that double from `first_s` up to `most_s`, each between half of that and all of it."""

    def __init__(self, *, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def delay_s(self) -> float:
        """How long to wait before the next attempt."""
        delay_s, self._next_s = self._next_s, min(self._next_s * 2, self._most_s)
        return delay_s * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret

    def reset(self) -> None:
        """It worked: begin anew."""
        self._next_s = self._first_s
