"""A ring of readings in raw flash that keeps each until its receipt, through power cuts at any write.

NOR flash: a write only clears bits, an erase sets a whole sector of 4 KiB. So the ring is a circle of sectors, and a
receipt clears one bit instead of rewriting a record:

    sector   header 16 B | receipts 11 B, a bit per slot, 0 = settled | blank | 84 slots of 48 B
    header   magic, sequence of the sector, records overwritten so far, CRC-32
    slot     CRC-32, length, boot, seq, record of up to 35 B

The sector with the highest sequence is the head; those before it in unbroken sequence hold the older records. What
makes it safe:

- a slot counts once its CRC is right. Only the last written one can be torn, and recovery settles it before anything
  follows;
- a sector's header is zeroed before its erase, so that a half-erased sector is never taken for a whole one;
- a torn receipt clears some of the bits that were meant, and those were settled anyway.

Recovery reads 40 bytes of each sector and the slots of the head: time and memory are bounded by the size of the flash
(1 MiB: 852 short reads, 2.3 KiB of memory). Wear: a sector is erased once per round, so a reading every 10 s in 1 MiB
is 0.4 erases a sector and day: 100,000 cycles last 670 years; a reading every second, 67 years.
"""

import binascii
import struct
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal import Flash

SECTOR_SIZE = 4096
SLOT_SIZE = 48
SLOTS = 84
RECORD_MAX = 35

_MAGIC = 0x31524157
_HEADER = "<IIII"
_HEADER_SIZE = 16
_RECEIPTS_AT = 16
_RECEIPTS_SIZE = 11
_SLOTS_AT = 64
# CRC, length, boot, seq.
_SLOT_HEAD = "<IBII"
_SLOT_HEAD_SIZE = 13
_BLANK = b"\xff" * SLOT_SIZE
_U32_MAX = 0xFFFFFFFF


class FlashRing:
    """Readings in the order of their appending, the oldest given up when the flash is full.

    Args:
        flash: a partition of the HAL (`size`, `read(at, buffer)`, `write(at, data)`, `erase(at)`).

    Attributes:
        overwritten: readings without receipt that were given up for newer ones, over the ring's life. A power cut in
            the moment of giving a sector up may leave its readings (84 at most) uncounted.
        corrupt: readings that failed their CRC since the start, other than by a power cut.
    """

    def __init__(self, flash: "Flash") -> None:
        self._flash = flash
        self._sectors = flash.size // SECTOR_SIZE
        if self._sectors < 2:
            raise ValueError("a ring needs 2 sectors of flash or more")
        self._slot = bytearray(SLOT_SIZE)
        self._receipts = bytearray(_RECEIPTS_SIZE)
        self._pending = bytearray(self._sectors)
        self._first_boot = array("I", [0] * self._sectors)
        self._first_seq = array("I", [0] * self._sectors)
        self.overwritten = self.corrupt = 0
        self._head = self._sequence = self._used = self._chain = self._count = 0
        self._recover()

    def __len__(self) -> int:
        """Return how many readings wait for their receipts."""
        return self._count

    def append(self, boot: int, seq: int, payload_record: bytes) -> None:
        """Store a reading; once this returns it survives a power cut.

        Args:
            boot: the boot's number, 32 bits.
            seq: grows within a boot, 32 bits.
            payload_record: 1 to 35 bytes, kept as they are.
        Raises:
            ValueError: a number or the record does not fit.
        """
        if not 0 < len(payload_record) <= RECORD_MAX:
            raise ValueError("a record has 1 to 35 bytes")
        if not (0 <= boot <= _U32_MAX and 0 <= seq <= _U32_MAX):
            raise ValueError("boot and seq are numbers of 32 bits")
        if self._used == SLOTS or self._sequence == 0:
            self._open_next_sector()
        head = struct.pack("<BII", len(payload_record), boot, seq)
        crc = binascii.crc32(payload_record, binascii.crc32(head))
        if self._used == 0:
            self._first_boot[self._head] = boot
            self._first_seq[self._head] = seq
        # Only what the record needs: the slot's rest stays blank and wears nothing.
        self._flash.write(self._slot_at(self._head, self._used), struct.pack("<I", crc) + head + payload_record)
        self._used += 1
        self._pending[self._head] += 1
        self._count += 1

    def settle(self, boot: int, first: int, last: int) -> int:
        """Mark the readings `first` to `last` (both included) of `boot` as receipted; return how many those were.

        What is not (or no longer) in the ring is passed over, so a receipt may come twice.
        """
        settled = 0
        for distance in range(self._chain - 1, -1, -1):
            sector = (self._head - distance) % self._sectors
            if self._pending[sector] and self._may_hold(sector, distance, boot, first, last):
                settled += self._settle_in(sector, boot, first, last)
        return settled

    def pending(self, limit: int) -> "list[tuple[int, int, bytes]]":
        """Return up to `limit` readings without receipt as (boot, seq, record), oldest first."""
        return self.pending_from(0, limit)[0]

    def pending_from(
        self, position: int, limit: int, until: "int | None" = None
    ) -> "tuple[list[tuple[int, int, bytes]], int]":
        """Return up to `limit` readings without receipt from `position` on, and the position after them.

        Those that stand at `until` or after it are left out.

        Position 0 is the oldest. A sender keeps the position to go on while receipts of what it sent are under way, and
        starts at 0 again when they stay away. A position stays good whatever is appended, settled or overwritten.
        """
        found: list[tuple[int, int, bytes]] = []
        end = self.end() if until is None else until
        for distance in range(self._chain - 1, -1, -1):
            sector = (self._head - distance) % self._sectors
            base = (self._sequence - distance) * SLOTS
            if base + SLOTS <= position:
                continue
            if self._pending[sector]:
                for slot in self._open_slots(sector, max(0, position - base)):
                    if len(found) == limit or base + slot >= end:
                        return found, min(base + slot, end)
                    record = self._read(sector, slot)
                    if record is not None:
                        found.append(record)
        return found, end

    def oldest(self) -> int:
        """Return the position of the oldest reading without receipt; the end if none is waiting."""
        for distance in range(self._chain - 1, -1, -1):
            sector = (self._head - distance) % self._sectors
            if self._pending[sector]:
                return (self._sequence - distance) * SLOTS + self._open_slots(sector, 0)[0]
        return self.end()

    def end(self) -> int:
        """Return the position of the next reading to be appended."""
        return self._sequence * SLOTS + self._used

    def _slot_at(self, sector: int, slot: int) -> int:
        return sector * SECTOR_SIZE + _SLOTS_AT + slot * SLOT_SIZE

    def _slots_of(self, sector: int) -> int:
        return self._used if sector == self._head else SLOTS

    def _open_slots(self, sector: int, start: int) -> "list[int]":
        """Return the slots from `start` on whose receipt bit is still set."""
        receipts = self._receipts
        self._flash.read(sector * SECTOR_SIZE + _RECEIPTS_AT, receipts)
        return [slot for slot in range(start, self._slots_of(sector)) if receipts[slot >> 3] & (1 << (slot & 7))]

    def _read(self, sector: int, slot: int) -> "tuple[int, int, bytes] | None":
        """Return what a slot holds; a slot that decayed is settled, so that it is not met again."""
        self._flash.read(self._slot_at(sector, slot), self._slot)
        record = _decoded(self._slot)
        if record is None:
            self.corrupt += 1
            self._clear(sector, [slot])
        return record

    def _clear(self, sector: int, slots: "list[int]") -> None:
        """Clear the receipt bits of `slots`, which are all set and were just read, in one write."""
        receipts = self._receipts
        for slot in slots:
            receipts[slot >> 3] &= ~(1 << (slot & 7)) & 0xFF
        first, last = slots[0] >> 3, slots[-1] >> 3
        self._flash.write(sector * SECTOR_SIZE + _RECEIPTS_AT + first, bytes(receipts[first : last + 1]))
        self._pending[sector] -= len(slots)
        self._count -= len(slots)

    def _may_hold(self, sector: int, distance: int, boot: int, first: int, last: int) -> bool:
        """Say from the first readings of this sector and the next whether this one may hold readings of the range."""
        starts_with, starts_at = self._first_boot[sector], self._first_seq[sector]
        if starts_with == boot and starts_at > last:
            return False
        if distance == 0:
            return True
        after = (sector + 1) % self._sectors
        if self._first_boot[after] != starts_with:
            return True
        return starts_with == boot and self._first_seq[after] > first

    def _settle_in(self, sector: int, boot: int, first: int, last: int) -> int:
        head = bytearray(_SLOT_HEAD_SIZE)
        settled = []
        for slot in self._open_slots(sector, 0):
            self._flash.read(self._slot_at(sector, slot), head)
            _, _, its_boot, its_seq = struct.unpack(_SLOT_HEAD, head)
            if its_boot == boot and first <= its_seq <= last:
                settled.append(slot)
        if settled:
            self._clear(sector, settled)
        return len(settled)

    def _open_next_sector(self) -> None:
        """Make the sector after the head the new head; what it still held is given up."""
        sector = (self._head + 1) % self._sectors
        if self._chain == self._sectors:
            self.overwritten += self._pending[sector]
            self._count -= self._pending[sector]
            self._pending[sector] = 0
            self._chain -= 1
        at = sector * SECTOR_SIZE
        self._flash.write(at, bytes(_HEADER_SIZE))
        self._flash.erase(at)
        fields = struct.pack("<III", _MAGIC, self._sequence + 1, self.overwritten & _U32_MAX)
        self._flash.write(at, fields + struct.pack("<I", binascii.crc32(fields)))
        self._head, self._used = sector, 0
        self._sequence += 1
        self._chain += 1

    def _header_of(self, sector: int) -> "tuple[int, int] | None":
        """Return a sector's sequence and overwritten count, or None if its header is not whole."""
        header = bytearray(_HEADER_SIZE)
        self._flash.read(sector * SECTOR_SIZE, header)
        magic, sequence, overwritten, crc = struct.unpack(_HEADER, header)
        if magic != _MAGIC or crc != binascii.crc32(memoryview(header)[:12]):
            return None
        return sequence, overwritten

    def _recover(self) -> None:
        """Find the head, the chain of sectors behind it, and how many readings wait."""
        self._head = self._sectors - 1
        for sector in range(self._sectors):
            header = self._header_of(sector)
            if header is not None and header[0] > self._sequence:
                self._head = sector
                self._sequence, self.overwritten = header
        if self._sequence == 0:
            return
        self._chain = 1
        while self._chain < self._sectors:
            header = self._header_of((self._head - self._chain) % self._sectors)
            if header is None or header[0] != self._sequence - self._chain:
                break
            self._chain += 1
        self._recover_head()
        for distance in range(self._chain):
            self._recover_sector((self._head - distance) % self._sectors)

    def _recover_head(self) -> None:
        """Find the first blank slot of the head, and settle the slot that a power cut tore, if any."""
        torn = []
        self._used = SLOTS
        open_slots = self._open_slots(self._head, 0)
        for slot in range(SLOTS):
            self._flash.read(self._slot_at(self._head, slot), self._slot)
            if self._slot == _BLANK:
                self._used = slot
                break
            if slot in open_slots and _decoded(self._slot) is None:
                torn.append(slot)
        if torn:
            self._clear_torn(torn)

    def _clear_torn(self, torn: "list[int]") -> None:
        # They were never counted as pending, so counting them settled must not count.
        self._pending[self._head] += len(torn)
        self._count += len(torn)
        self._clear(self._head, torn)

    def _recover_sector(self, sector: int) -> None:
        waiting = len(self._open_slots(sector, 0))
        self._pending[sector] = waiting
        self._count += waiting
        head = bytearray(_SLOT_HEAD_SIZE)
        self._flash.read(self._slot_at(sector, 0), head)
        _, _, self._first_boot[sector], self._first_seq[sector] = struct.unpack(_SLOT_HEAD, head)


def _decoded(slot: bytearray) -> "tuple[int, int, bytes] | None":
    """Return (boot, seq, record) of a slot, or None if it is torn."""
    crc, length, boot, seq = struct.unpack_from(_SLOT_HEAD, slot, 0)
    if not 0 < length <= RECORD_MAX or binascii.crc32(memoryview(slot)[4 : _SLOT_HEAD_SIZE + length]) != crc:
        return None
    return boot, seq, bytes(slot[_SLOT_HEAD_SIZE : _SLOT_HEAD_SIZE + length])
