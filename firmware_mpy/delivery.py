"""Readings on their way to the log: kept in the flash ring until their receipt, live ones first, the backlog in lists.

A PUBACK promises nothing (brokers lose what they acknowledged); only a receipt settles a reading. What has none is sent
again on every new connection, and when receipts stay away. Source: docs/protocol.md, "Receipt".

With each connection two cursors run through the ring: the backlog's, from the oldest reading to where the ring ended
then, and from there the live one's, which goes first. So the engine hears of now while days of backlog go up, and a
round sends nothing twice. A backlog of less than a window is no matter of waiting: all goes the live way, in order.
"""

import asyncio

import hal
import readings
from strict_json import NotJson, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clock import Clock, Dating
    from flash_ring import FlashRing

LIST_MAX = 50
WINDOW = 240
_LIVE_WINDOW = 2 * WINDOW
_BUFFER_BYTES = 6144
_AT_ONCE = min(LIST_MAX, _BUFFER_BYTES // readings.JSON_BYTES_MAX)
_RESEND_MAX_MS = 300_000


class Delivery:
    """
    Args:
        ring: a `FlashRing`.
        boot: random 32 bits, new at each start.
        clock, dating: as in clock.py.
        resend_ms: how long something sent may wait for its receipt before all that has none goes out again; doubles up
            to 5 min as long as no receipt comes at all.
        sync_wait_ms: how long the first sending waits for the time to be known.

    Attributes:
        sent: readings handed to a broker, repetitions included.
        receipts, bad_receipts: what came back.
    """

    def __init__(
        self,
        ring: "FlashRing",
        boot: int,
        clock: "Clock",
        dating: "Dating",
        resend_ms: int = 15_000,
        sync_wait_ms: int = 30_000,
    ) -> None:
        self._ring, self._boot, self._clock, self._dating = ring, boot, clock, dating
        self._resend_ms, self._resend_now_ms, self._sync_wait_ms = resend_ms, resend_ms, sync_wait_ms
        self._seq = 0
        self._changed = asyncio.Event()
        self._buffer = bytearray(_BUFFER_BYTES)
        self.sent = self.receipts = self.bad_receipts = 0
        self._unreceipted = self._live = self._backlog = self._backlog_end = 0
        self._start_over()

    def add(self, reading: dict) -> int:
        """Store a reading, as of now; its `seq`. Once this returns it survives a power cut.

        Args:
            reading: members of the wire but `boot`, `seq`, `at` and `up`; only `power_mw` must be there.
        """
        now_ms = self._clock.now_ms()
        dated = now_ms is not None
        record = readings.pack(reading, self._clock.uptime_ms() if now_ms is None else now_ms, dated)
        seq, self._seq = self._seq, self._seq + 1
        self._ring.append(self._boot, seq, record)
        self._changed.set()
        return seq

    def take_receipt(self, payload: "bytes | memoryview") -> None:
        """Settle what a receipt says; one that cannot be read is counted and changes nothing."""
        try:
            boot, ranges = read_receipt(payload)
        except (NotJson, ValueError):
            self.bad_receipts += 1
            return
        for first, last in ranges:
            self._unreceipted -= self._ring.settle(boot, first, last)
        # A receipt may be for what an earlier connection sent.
        self._unreceipted = max(0, self._unreceipted)
        self.receipts += 1
        self._resend_now_ms = self._resend_ms
        self._changed.set()

    async def send(self, publish: "Callable[[memoryview], Awaitable[None]]") -> None:
        """Send over one connection, for as long as it stands: `await publish(payload)` raises when it is gone."""
        await self._know_the_time()
        self._start_over()
        while True:
            batch = self._next_batch()
            if batch:
                self._unreceipted += len(batch)
                self.sent += len(batch)
                await publish(self._encoded(batch))
            else:
                await self._wait()

    async def _know_the_time(self) -> None:
        """Wait a while for the time; without it, undated readings of this boot go out with their uptime for good."""
        began = hal.ticks_ms()
        while self._clock.now_ms() is None and not self._dating.undated:
            if hal.ticks_diff(hal.ticks_ms(), began) >= self._sync_wait_ms:
                break
            await asyncio.sleep(0.1)
        base_ms = self._clock.base_ms()
        if base_ms is None:
            self._dating.leave_undated()
        else:
            self._dating.fix(base_ms)

    def _next_batch(self) -> "list[tuple[int, int, bytes]]":
        """Return what goes out next, in one list; nothing if all is sent or too much waits for its receipt."""
        self._look_for_receipts()
        ring = self._ring
        if self._live < ring.end() and self._unreceipted < _LIVE_WINDOW:
            batch, self._live = ring.pending_from(self._live, _AT_ONCE)
            if batch:
                return batch
        room = min(_AT_ONCE, WINDOW - self._unreceipted)
        if room <= 0 or self._backlog >= self._backlog_end:
            return []
        batch, self._backlog = ring.pending_from(self._backlog, room, self._backlog_end)
        return batch

    def _start_over(self) -> None:
        """Begin with the oldest reading again; what comes from now on is live, and a short backlog is, too."""
        ring = self._ring
        self._backlog = self._unreceipted = self._marked = 0
        self._backlog_end = self._live = ring.end()
        if len(ring) <= WINDOW:
            self._backlog_end, self._live = 0, ring.oldest()
        self._marked_at = hal.ticks_ms()

    def _look_for_receipts(self) -> None:
        """Start over if something was sent so long ago that its receipt must be lost.

        All before the mark had been sent when it was set; once all of that is receipted the mark is set anew.
        """
        oldest, sent_end = self._ring.oldest(), self._backlog
        if self._backlog >= self._backlog_end:
            sent_end = self._live
        if oldest >= sent_end:
            # What the full ring gave up is never receipted, and must not fill the window for ever.
            self._unreceipted = 0
        now = hal.ticks_ms()
        if oldest >= self._marked:
            self._marked, self._marked_at = sent_end, now
        elif hal.ticks_diff(now, self._marked_at) >= self._resend_now_ms:
            self._resend_now_ms = min(2 * self._resend_now_ms, _RESEND_MAX_MS)
            self._start_over()

    def _encoded(self, batch: "list[tuple[int, int, bytes]]") -> memoryview:
        """Fill the one buffer; it is good until the next call."""
        buffer, end = self._buffer, 0
        for boot, seq, record in batch:
            text = readings.encode(boot, seq, record, self._dating.base_ms(boot))
            buffer[end] = 44 if end else 91
            buffer[end + 1 : end + 1 + len(text)] = text
            end += 1 + len(text)
        if len(batch) == 1:
            return memoryview(buffer)[1:end]
        buffer[end] = 93
        return memoryview(buffer)[: end + 1]

    async def _wait(self) -> None:
        """Wait for a reading or a receipt, or until what has none is to go out again."""
        self._changed.clear()
        wait_ms = _RESEND_MAX_MS
        if len(self._ring):
            wait_ms = max(100, self._resend_now_ms - hal.ticks_diff(hal.ticks_ms(), self._marked_at))
        try:
            await asyncio.wait_for(self._changed.wait(), wait_ms / 1000)
        except asyncio.TimeoutError:  # noqa: UP041
            return


def read_receipt(payload: "bytes | memoryview") -> "tuple[int, list[list[int]]]":
    """Return boot and ranges of a receipt. Raises NotJson, ValueError."""
    value = parse(payload)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    boot, ranges = value.get("boot"), value.get("ranges")
    if not isinstance(boot, str) or len(boot) != 8 or not all(digit in "0123456789abcdef" for digit in boot):
        raise ValueError("boot")
    if not isinstance(ranges, list) or len(ranges) > 100:
        raise ValueError("ranges")
    for pair in ranges:
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(end) is int for end in pair):
            raise ValueError("range")
        if not 0 <= pair[0] <= pair[1]:
            raise ValueError("range")
    return int(boot, 16), ranges
