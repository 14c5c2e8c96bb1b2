"""Simulated NOR flash: writes only clear bits, erases set whole sectors; the power may go in the middle of either."""

SECTOR_SIZE = 4096
# Made once: the board erases without taking memory for it.
_BLANK = b"\xff" * SECTOR_SIZE
_PIECE = 64


class PowerCut(Exception):
    """The power went; whoever catches it starts the firmware anew on the same flash."""


class Flash:
    """A partition, in memory or (so that it does not fill the small heap, and outlives the process) in a file.

    Attributes:
        cut_after: how many writes and erases still succeed; the next one is torn and raises `PowerCut`. None: no cut.
        torn: how the torn operation ends: a seed that decides which of its bits happened.
        operations: writes and erases so far.
        erases: erases per sector.
    """

    def __init__(self, size: int, path: "str | None" = None) -> None:
        self.size = size
        self.cut_after = None
        self.torn = 0
        self.operations = 0
        self.erases = [0] * (size // SECTOR_SIZE)
        self._content = None if path else bytearray(b"\xff" * size)
        self._file = _opened(path, size) if path else None

    def read(self, at: int, buffer: bytearray) -> None:
        """Fill `buffer` from `at` on."""
        self._check(at, len(buffer))
        if self._file is None:
            buffer[:] = self._content[at : at + len(buffer)]
        else:
            self._file.seek(at)
            self._file.readinto(buffer)

    def write(self, at: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`; refuse what would need an erase first."""
        self._check(at, len(data))
        # In pieces: the board needs no memory to write.
        for start in range(0, len(data), _PIECE):
            before = self._load(at + start, min(_PIECE, len(data) - start))
            for index, bits in enumerate(before, start):
                if data[index] & ~bits & 0xFF:
                    raise AssertionError(f"a write at {at + index} would have to set bits")
        self._change(at, data)

    def erase(self, at: int) -> None:
        """Set all bits of the sector that begins at `at`."""
        if at % SECTOR_SIZE:
            raise AssertionError("an erase begins at a sector")
        self._check(at, SECTOR_SIZE)
        self.erases[at // SECTOR_SIZE] += 1
        self._change(at, _BLANK)

    def _check(self, at: int, length: int) -> None:
        if at < 0 or at + length > self.size:
            raise AssertionError(f"outside of the partition: {at} + {length}")

    def _change(self, at: int, intended: bytes) -> None:
        self.operations += 1
        if self.cut_after is not None:
            if self.cut_after == 0:
                self._store(at, self._half_done(at, intended))
                raise PowerCut
            self.cut_after -= 1
        self._store(at, intended)

    def _load(self, at: int, length: int) -> bytes:
        if self._file is None:
            return self._content[at : at + length]
        self._file.seek(at)
        return self._file.read(length)

    def _store(self, at: int, data: bytes) -> None:
        if self._file is None:
            self._content[at : at + len(data)] = data
            return
        self._file.seek(at)
        self._file.write(data)
        self._file.flush()

    def _half_done(self, at: int, intended: bytes) -> bytearray:
        """Return what a torn operation leaves: nothing, everything, a part from either end, or random bits."""
        before = bytearray(self._load(at, len(intended)))
        kind, seed = self.torn % 4, self.torn * 2654435761 + 12345
        if kind == 0:
            return before
        if kind == 1:
            return bytearray(intended)
        if kind == 2:
            front = seed // 7 % (len(intended) + 1)
            if self.torn & 4:
                return before[:front] + bytearray(intended[front:])
            return bytearray(intended[:front]) + before[front:]
        mixed = bytearray(len(intended))
        for index in range(len(intended)):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            chosen = seed >> 16 & 0xFF
            mixed[index] = (before[index] & ~chosen & 0xFF) | (intended[index] & chosen)
        return mixed


def _opened(path: str, size: int) -> "object":
    try:
        return open(path, "r+b")  # open as long as the board lives
    except OSError:
        file = open(path, "w+b")
        for _ in range(size // SECTOR_SIZE):
            file.write(_BLANK)
        file.flush()
        return file
