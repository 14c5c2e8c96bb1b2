"""Brings an image into a partition, in sectors, and goes on where it was cut, also after a power cut.

Before the first byte is written the image's signature, board and release are known to be right; after the last one the
whole of it is checked as it stands in flash.
"""

import struct

from firmware_image import BadImage
from http_client import HttpFailed
from records import SECTOR_SIZE
from slot_files import check_signed, check_slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal import Flash
    from http_client import Response
    from records import Record

PROGRESS_AT = 2 * SECTOR_SIZE
PROGRESS_SLOT_SIZE = 64
_PROGRESS = "<32sBI"


class Download:
    """
    Args:
        record: keeps how far it is (`load()`, `save(bytes)`).
        flash: the partition it goes to.
        slot: 1 or 2, that partition's number.
        offer: what the server says about the image: `counter`, `size`, `sha256` (hex), `url`.
        trusted: (board, modulus) that the image must fit.
        sector: room for one, taken early: after hours of small objects the heap may hold no 4 KiB in one piece.
    """

    def __init__(
        self,
        record: "Record",
        flash: "Flash",
        slot: int,
        offer: dict,
        trusted: "tuple[str, bytes]",
        sector: memoryview,
    ) -> None:
        self._record, self._flash, self._slot, self._offer, self._sector = record, flash, slot, offer, sector
        self._board, self._modulus = trusted
        self._mark = bytes.fromhex(offer["sha256"])
        self.at = self._known_progress()

    def _known_progress(self) -> int:
        kept = self._record.load() or b""
        if len(kept) == struct.calcsize(_PROGRESS):
            mark, slot, at = struct.unpack(_PROGRESS, kept)
            if mark == self._mark and slot == self._slot and at <= self._offer["size"]:
                return at
        return 0

    @property
    def is_complete(self) -> bool:
        """Whether every byte is in flash; they are not checked yet."""
        return self.at >= self._offer["size"]

    def headers(self) -> dict:
        """Return the header fields that ask for what is missing. Source: RFC 9110, sections 13.1.5 and 14.2."""
        if not self.at:
            return {}
        return {"Range": "bytes=" + str(self.at) + "-", "If-Range": '"' + self._offer["sha256"] + '"'}

    async def take(self, response: "Response") -> None:
        """Write what comes. Raises HttpFailed if it is cut, BadImage if it is nothing for this socket."""
        if response.status == 206:
            if not response.headers.get("content-range", "").startswith("bytes " + str(self.at) + "-"):
                raise HttpFailed("another range")
        elif response.status == 200:
            self.at = 0
        else:
            raise HttpFailed("status " + str(response.status))
        if response.remaining != self._offer["size"] - self.at:
            raise BadImage("truncated")
        while not self.is_complete:
            part = self._sector[: min(SECTOR_SIZE, self._offer["size"] - self.at)]
            await response.fill(part)
            if not self.at:
                self._check_start(part)
            self._write(part)

    def _check_start(self, start: memoryview) -> None:
        head = check_signed(start, self._board, self._modulus, self._flash.size)
        if head["counter"] != self._offer["counter"] or head["size"] != self._offer["size"]:
            raise BadImage("offer")
        # What was there before counts no more, and its first sector is about to go.
        self._note(0)

    def _write(self, sector: memoryview) -> None:
        self._flash.erase(self.at)
        self._flash.write(self.at, sector)
        self._note(self.at + len(sector))

    def _note(self, at: int) -> None:
        self.at = at
        self._record.save(struct.pack(_PROGRESS, self._mark, self._slot, at))

    def check(self) -> None:
        """Return if what stands in flash is the whole, signed image that was offered. Raises BadImage."""
        try:
            head = check_slot(self._flash, self._board, self._modulus)
            if head["counter"] != self._offer["counter"]:
                raise BadImage("offer")
        except BadImage:
            self.forget()
            raise

    def forget(self) -> None:
        """Begin from the start next time."""
        self._note(0)
