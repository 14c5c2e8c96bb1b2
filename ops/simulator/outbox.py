"""What a socket has measured and not yet been told is safe: kept until its receipt comes, sent again when overdue.

No clock and no network in here: the caller says what time it is and what became of the connection.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from domain.wire import MAX_PAYLOAD_BYTES, MAX_READINGS_PER_PAYLOAD


class Outbox:
    """The readings of one boot that await their receipt.

    Args:
        resend_after_s: a reading sent so long ago without a receipt is sent again.
    """

    def __init__(self, resend_after_s: float) -> None:
        self._resend_after_s = resend_after_s
        self._payloads: dict[int, bytes] = {}
        self._waiting: deque[int] = deque()
        self._sent_at_s: OrderedDict[int, float] = OrderedDict()
        self.resent = 0

    def __len__(self) -> int:
        """How many readings have no receipt yet."""
        return len(self._payloads)

    def keep(self, seq: int, payload: bytes) -> None:
        """Keep a new reading; it waits to be sent."""
        self._payloads[seq] = payload
        self._waiting.append(seq)

    def take_newest(self, now_s: float) -> bytes | None:
        """The newest reading if it waits, as a payload of its own: live before backlog."""
        while self._waiting:
            seq = self._waiting.pop()
            if seq in self._payloads:
                self._sent_at_s[seq] = now_s
                return self._payloads[seq]
        return None

    def take_list(
        self, now_s: float, *, most: int = MAX_READINGS_PER_PAYLOAD, most_bytes: int = MAX_PAYLOAD_BYTES
    ) -> tuple[bytes, int] | None:
        """The oldest waiting readings as one list payload, and how many they are; None if none wait."""
        taken: list[bytes] = []
        size = 2
        while self._waiting and len(taken) < most:
            payload = self._payloads.get(self._waiting[0])
            if payload is not None:
                size += len(payload) + 1
                if taken and size > most_bytes:
                    break
                taken.append(payload)
                self._sent_at_s[self._waiting[0]] = now_s
            self._waiting.popleft()
        return (b"[" + b",".join(taken) + b"]", len(taken)) if taken else None

    def settle(self, ranges: Iterable[tuple[int, int]]) -> int:
        """Forget the readings that a receipt names; how many of them we still had."""
        before = len(self._payloads)
        for first, last in ranges:
            # A receipt is input: a range may be far wider than what we hold.
            named = range(first, last + 1) if last - first < len(self._payloads) else list(self._payloads)
            for seq in named:
                if first <= seq <= last and self._payloads.pop(seq, None) is not None:
                    self._sent_at_s.pop(seq, None)
        return before - len(self._payloads)

    def mark_overdue(self, now_s: float) -> int:
        """Let what was sent too long ago wait to be sent again; how many readings that are."""
        overdue = 0
        while self._sent_at_s:
            seq = next(iter(self._sent_at_s))
            if self._sent_at_s[seq] + self._resend_after_s > now_s:
                break
            del self._sent_at_s[seq]
            self._waiting.append(seq)
            overdue += 1
        self._sort_waiting(overdue)
        return overdue

    def mark_connection_lost(self) -> None:
        """Whatever was sent may not have arrived: all of it waits to be sent again."""
        self._waiting.extend(self._sent_at_s)
        self._sort_waiting(len(self._sent_at_s))
        self._sent_at_s.clear()

    def waiting(self) -> int:
        """How many readings wait to be sent (receipts that came meanwhile not deducted)."""
        return len(self._waiting)

    def _sort_waiting(self, returned: int) -> None:
        if returned:
            self.resent += returned
            self._waiting = deque(sorted(seq for seq in self._waiting if seq in self._payloads))
