"""An image in its partition: whether it may run, and its files as a file system that cannot be written.

Nothing is unpacked: what runs is what was signed, byte by byte, and a download touches nothing else.
"""

import hashlib
import io

from firmware_image import ENTRY_SIZE, HEAD_SIZE, SIGNED_SIZE, BadImage, check_table, read_entry, read_head
from rsa_verify import is_signed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hal import Flash

_CHUNK = 1024
_FOLDER, _FILE = 0x4000, 0x8000
_ENOENT, _EROFS = 2, 30
_CLOSE = 4


def check_signed(start: bytes, board: str, modulus: bytes, room: int) -> dict:
    """Return the head if the first 512 bytes of an image are signed, for this board, and it fits. Raises BadImage."""
    if len(start) < SIGNED_SIZE:
        raise BadImage("truncated")
    head = read_head(start)
    digest = hashlib.sha256(bytes(start[:HEAD_SIZE])).digest()
    if not is_signed(digest, bytes(start[HEAD_SIZE:SIGNED_SIZE]), modulus):
        raise BadImage("signature")
    if head["board"] != board:
        raise BadImage("board")
    if head["size"] > room:
        raise BadImage("size")
    return head


def check_slot(flash: "Flash", board: str, modulus: bytes) -> dict:
    """Return the head of the image in a partition if it may run. Raises BadImage."""
    start = bytearray(SIGNED_SIZE)
    flash.read(0, start)
    head = check_signed(start, board, modulus, flash.size)
    hashed, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    for at in range(SIGNED_SIZE, head["size"], _CHUNK):
        part = buffer[: min(_CHUNK, head["size"] - at)]
        flash.read(at, part)
        hashed.update(part)
    if hashed.digest() != head["digest"]:
        raise BadImage("digest")
    table = bytearray(head["files"] * ENTRY_SIZE)
    flash.read(SIGNED_SIZE, table)
    check_table(head, table)
    return head


class SlotFiles:
    """The files of a checked image, to be mounted; the table is read from flash, so that it costs no heap."""

    def __init__(self, flash: "Flash", files: int) -> None:
        self._flash, self._files = flash, files

    def mount(self, readonly: bool, mkfs: bool) -> None:
        """Nothing to do."""

    def umount(self) -> None:
        """Nothing to do."""

    def chdir(self, path: str) -> None:
        """Go to the one folder there is."""
        if path.strip("/"):
            raise OSError(_ENOENT)

    def getcwd(self) -> str:
        """Return the one folder there is."""
        return "/"

    def stat(self, path: str) -> tuple:
        """Return what `os.stat` says."""
        name = path.strip("/")
        if not name:
            return (_FOLDER, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        return (_FILE, 0, 0, 0, 0, 0, self._find(name)[1], 0, 0, 0)

    def ilistdir(self, path: str) -> "Iterator[tuple[str, int, int, int]]":
        """Return the files, as `os.ilistdir` does."""
        self.chdir(path)
        return ((name, _FILE, 0, size) for name, _, size in self._entries())

    def open(self, path: str, mode: str) -> "_File":
        """Return a file to be read."""
        if "w" in mode or "a" in mode or "+" in mode:
            raise OSError(_EROFS)
        at, size = self._find(path.strip("/"))
        return _File(self._flash, at, size, "b" in mode)

    def _entries(self) -> "Iterator[tuple[str, int, int]]":
        entry, at = bytearray(ENTRY_SIZE), SIGNED_SIZE + self._files * ENTRY_SIZE
        for number in range(self._files):
            self._flash.read(SIGNED_SIZE + number * ENTRY_SIZE, entry)
            name, size = read_entry(entry)
            yield name, at, size
            at += size

    def _find(self, wanted: str) -> "tuple[int, int]":
        for name, at, size in self._entries():
            if name == wanted:
                return at, size
        raise OSError(_ENOENT)


class _File(io.IOBase):
    """What the interpreter imports from, and what a program may read as a whole."""

    def __init__(self, flash: "Flash", at: int, size: int, binary: bool) -> None:
        self._flash, self._at, self._end, self._binary = flash, at, at + size, binary

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, kind: "object", error: "object", trace: "object") -> None:
        self.close()

    def close(self) -> None:
        """Nothing to do."""

    def read(self) -> "bytes | str":
        """Return all that is left."""
        content = bytearray(self._end - self._at)
        self.readinto(content)
        return bytes(content) if self._binary else content.decode()

    def readinto(self, buffer: bytearray) -> int:
        """Fill `buffer`; return how many bytes that were."""
        count = min(len(buffer), self._end - self._at)
        self._flash.read(self._at, memoryview(buffer)[:count])
        self._at += count
        return count

    def ioctl(self, request: int, _argument: int) -> int:
        """Answer the interpreter's questions: closing needs nothing, nothing else is possible."""
        return 0 if request == _CLOSE else -1
