"""How long to wait before a died child is started again."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass
class Backoff:
    """Doubling pauses with jitter, back to the first one after a run that was long enough.

    Args:
        first_s: the first pause.
        longest_s: no pause is longer.
        healthy_after_s: a run of this length was a good one; what comes next is a new first failure.
        jitter: a pause is stretched by up to this fraction, so that several children do not start at once.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    healthy_after_s: float = 30.0
    jitter: float = 0.25
    random: Random = field(default_factory=Random)
    failures: int = 0

    def pause_s(self, ran_s: float) -> float:
        """The pause after a run of `ran_s` seconds."""
        if ran_s >= self.healthy_after_s:
            self.failures = 0
        pause = min(self.first_s * 2.0**self.failures, self.longest_s)
        self.failures += 1
        return pause * (1 + self.jitter * self.random.random())
