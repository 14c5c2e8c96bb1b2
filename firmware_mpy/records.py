"""Small records that survive a power cut at any write: boot count, energy counter, configuration.

A record owns two sectors of flash. Every save takes the next blank slot, so the wear spreads over the slots of both;
when a sector is full the other one is erased, which holds only older copies. The newest slot with a right CRC is the
record, so at every moment there is a whole one.

Wear: `erases_per_day`. The budget is 27 erases a day and sector: 100,000 cycles in 10 years. The energy counter, saved
every minute in slots of 24 bytes, takes 5.

Source: Winbond W25Q32JV datasheet, section 2, "Min. 100K Program-Erase cycles per sector" (typical of ESP32 modules).
"""

import binascii
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal import Flash

SECTOR_SIZE = 4096
_HEAD = "<IIH"
HEAD_SIZE = 10


class Record:
    """One record, replaced as a whole.

    Args:
        flash: a partition of the HAL.
        at: where its two sectors begin.
        slot_size: bytes of a slot; 10 of them are the record's head.
    """

    def __init__(self, flash: "Flash", at: int, slot_size: int) -> None:
        if not HEAD_SIZE < slot_size <= SECTOR_SIZE:
            raise ValueError("a slot has 11 to 4096 bytes")
        self._flash = flash
        self._at = at
        self._slot_size = slot_size
        self._slots = SECTOR_SIZE // slot_size
        self._sequence = 0
        # The slot used last, counted over both sectors; the first save starts with an erase.
        self._place = 2 * self._slots - 1
        self._newest_place: int | None = None
        self._newest: bytes | None = None
        self._find_newest()

    def load(self) -> "bytes | None":
        """Return what was saved last, or None if nothing ever was."""
        return self._newest

    def save(self, data: bytes) -> None:
        """Replace the record; once this returns the new one survives a power cut, and until then the old one does.

        Raises:
            ValueError: longer than a slot.
            OSError: the flash does not take it any more, wherever it is written.
        """
        if len(data) > self._slot_size - HEAD_SIZE:
            raise ValueError("longer than a slot")
        sequence = self._sequence + 1
        body = struct.pack("<IH", sequence, len(data)) + data
        slot = struct.pack("<I", binascii.crc32(body)) + body
        for _ in range(2 * self._slots):
            self._next_place()
            self._flash.write(self._address(self._place), slot)
            if self._read(self._place) == (sequence, data):
                self._sequence, self._newest = sequence, bytes(data)
                self._newest_place = self._place
                return
        raise OSError("the flash is worn out")

    def erase(self) -> None:
        """Forget it, the newest sector last: of slots as large as a sector no power cut brings an older one back."""
        newest = (self._place if self._newest_place is None else self._newest_place) // self._slots
        for sector in (1 - newest, newest):
            self._flash.erase(self._at + sector * SECTOR_SIZE)
        self._sequence, self._newest, self._newest_place = 0, None, None
        self._place = 2 * self._slots - 1

    def _address(self, place: int) -> int:
        sector, slot = divmod(place, self._slots)
        return self._at + sector * SECTOR_SIZE + slot * self._slot_size

    def _next_place(self) -> None:
        """Step to the next blank slot; a torn one is passed over, a new sector is erased first."""
        while True:
            self._place = (self._place + 1) % (2 * self._slots)
            if self._place % self._slots == 0:
                if self._newest_place is not None and self._newest_place // self._slots == self._place // self._slots:
                    raise OSError("the flash is worn out: only the old record is left")
                self._flash.erase(self._address(self._place))
                return
            if self._is_blank(self._place):
                return

    def _is_blank(self, place: int) -> bool:
        slot = bytearray(self._slot_size)
        self._flash.read(self._address(place), slot)
        return slot == b"\xff" * self._slot_size

    def _read(self, place: int) -> "tuple[int, bytes] | None":
        """Return (sequence, data) of a slot, or None if it is blank or torn."""
        head = bytearray(HEAD_SIZE)
        self._flash.read(self._address(place), head)
        crc, sequence, length = struct.unpack(_HEAD, head)
        if length > self._slot_size - HEAD_SIZE:
            return None
        slot = bytearray(HEAD_SIZE + length)
        self._flash.read(self._address(place), slot)
        if binascii.crc32(memoryview(slot)[4:]) != crc:
            return None
        return sequence, bytes(slot[HEAD_SIZE:])

    def _find_newest(self) -> None:
        for place in range(2 * self._slots):
            found = self._read(place)
            if found is not None and found[0] > self._sequence:
                self._sequence, self._newest = found
                self._place = self._newest_place = place


def erases_per_day(saves_per_day: int, slot_size: int) -> int:
    """Return how often each of a record's sectors is erased in a day, rounded up."""
    return -(-saves_per_day // (2 * (SECTOR_SIZE // slot_size)))
