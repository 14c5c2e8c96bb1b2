"""What time it is: uptime from ticks that wrap, UTC once a server has told it, and when an earlier boot began.

The board counts its own epoch from 2000, the unix port from 1970; in here everything is ms since 1970.
"""

import struct

import hal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from records import Record

NTP_TO_UNIX_S = 2_208_988_800
_ERA_S = 1 << 32
_EARLIEST_MS = 1_735_689_600_000  # 2025-01-01: this firmware is younger than that, so an earlier time is wrong.
_LATEST_MS = 4_102_444_800_000  # 2100-01-01, the wire's last instant.
_BASES_KEPT = 8
_BASE = "<IQ"


class Clock:
    """Uptime and UTC. `uptime_ms` must be asked more often than every 6 days, half the round of the ticks."""

    def __init__(self) -> None:
        self._ticks = hal.ticks_ms()
        self._up_ms = 0
        self._base_ms: int | None = None
        self._told_ms = 0

    def uptime_ms(self) -> int:
        """Return the ms since this boot, without wrap."""
        ticks = hal.ticks_ms()
        self._up_ms += hal.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        return self._up_ms

    def now_ms(self) -> "int | None":
        """Return the ms since 1970, or None as long as nobody told; never less than the time before."""
        if self._base_ms is None:
            return None
        self._told_ms = max(self._told_ms, self._base_ms + self.uptime_ms())
        return self._told_ms

    def base_ms(self) -> "int | None":
        """Return when this boot began, in ms since 1970."""
        return self._base_ms

    def set(self, now_ms: int) -> bool:
        """Take `now_ms` as the time; whether it can be true."""
        if not _EARLIEST_MS <= now_ms <= _LATEST_MS:
            return False
        base_ms = now_ms - self.uptime_ms()
        if self._base_ms is not None and base_ms < self._base_ms - 60_000:
            self._told_ms = 0  # What was told before was wrong by more than a drift: standing still would be, too.
        self._base_ms = base_ms
        return True


def ntp_request(nonce: bytes) -> bytes:
    """Return an SNTP request; the server gives the 8 bytes of `nonce` back. Source: RFC 4330."""
    return b"\x23" + bytes(39) + nonce


def ntp_answer_ms(answer: bytes, nonce: bytes, round_trip_ms: int) -> "int | None":
    """Return the time in ms since 1970 as of the answer's coming, or None if it is no good answer to `nonce`.

    Seconds below 2^31 are of the era that begins in 2036. Source: RFC 4330, sections 3 and 5.
    """
    if len(answer) < 48 or answer[24:32] != nonce or answer[0] & 7 != 4 or answer[0] >> 6 == 3:
        return None
    if not 1 <= answer[1] <= 15:
        return None
    seconds, fraction = struct.unpack(">II", answer[40:48])
    if not seconds and not fraction:
        return None
    if not seconds & 0x80000000:
        seconds += _ERA_S
    return (seconds - NTP_TO_UNIX_S) * 1000 + (fraction * 1000 >> 32) + round_trip_ms // 2


class Dating:
    """When boots began whose readings have only their uptime, kept over restarts.

    A reading must have the same instant however often it is sent. So a boot either gets a base before any reading of it
    was sent, and keeps it, or its undated readings are sent with `up` for ever and the engine dates them.

    Args:
        record: where the bases are kept (`load()`, `save(bytes)`).
        boot: this boot.

    Attributes:
        undated: whether undated readings of this boot go out with `up`.
    """

    def __init__(self, record: "Record", boot: int) -> None:
        self._record, self._boot, self.undated = record, boot, False
        kept, size = record.load() or b"", struct.calcsize(_BASE)
        self._bases = [struct.unpack_from(_BASE, kept, at) for at in range(0, len(kept) - size + 1, size)]

    def base_ms(self, boot: int) -> "int | None":
        """Return when `boot` began, if its undated readings go out with an instant."""
        for known, base_ms in self._bases:
            if known == boot:
                return base_ms
        return None

    def leave_undated(self) -> None:
        """Undated readings of this boot are about to be sent with `up`."""
        self.undated = self.base_ms(self._boot) is None

    def fix(self, base_ms: int) -> None:
        """The time is known: this boot began at `base_ms`."""
        if self.undated or self.base_ms(self._boot) is not None:
            return
        self._bases = (self._bases + [(self._boot, base_ms)])[-_BASES_KEPT:]  # noqa: RUF005
        self._record.save(b"".join([struct.pack(_BASE, boot, base) for boot, base in self._bases]))
