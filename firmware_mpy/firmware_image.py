"""The file that an update is: a head, its signature, a table of files, and the files one after another.

| from | bytes | what |
|---|---|---|
| 0 | 128 | head: who it is for, which release it is, how long it is, SHA-256 of everything from 512 on |
| 128 | 384 | RSA-3072 signature of the head |
| 512 | 44 for each file | table: name (40, filled with 0), size (4) |
| … | | the files' bytes in the order of the table |

All numbers are little-endian. The signature covers the head and the head's digest the rest, so that 512 bytes are
enough to know whether the rest is worth fetching. Pure: the same in CPython.
"""

import struct

HEAD_SIZE = 128
SIGNED_SIZE = 512
ENTRY_SIZE = 44
FILES_MAX = 128
_HEAD = "<4sB3s32s24sIIHH32s20s"
_ENTRY = "<40sI"
_MAGIC = b"WAFW"
_FORMAT = 1
_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


class BadImage(Exception):
    """No image that this socket may run; the first argument says why in a word that can be reported."""


def read_head(head: bytes) -> dict:
    """Return what the first 128 bytes say. Raises BadImage."""
    if len(head) < HEAD_SIZE:
        raise BadImage("truncated")
    fields = struct.unpack(_HEAD, bytes(head[:HEAD_SIZE]))
    magic, layout, gap, board, version, counter, size, files, more, digest, rest = fields
    if magic != _MAGIC or layout != _FORMAT or any(gap) or more or any(rest):
        raise BadImage("format")
    if not 0 < files <= FILES_MAX or size < SIGNED_SIZE + files * ENTRY_SIZE or not 0 < counter < 1 << 31:
        raise BadImage("format")
    return {
        "board": _text(board),
        "version": _text(version),
        "counter": counter,
        "size": size,
        "files": files,
        "digest": digest,
    }


def read_entry(entry: bytes) -> "tuple[str, int]":
    """Return name and size of a file from its 44 bytes in the table. Raises BadImage."""
    if len(entry) < ENTRY_SIZE:
        raise BadImage("truncated")
    name, size = struct.unpack(_ENTRY, bytes(entry[:ENTRY_SIZE]))
    return _text(name), size


def check_table(head: dict, table: bytes) -> None:
    """Return if the files fill the image exactly, each under a name of its own. Raises BadImage."""
    names, size = set(), SIGNED_SIZE + head["files"] * ENTRY_SIZE
    for at in range(0, head["files"] * ENTRY_SIZE, ENTRY_SIZE):
        name, length = read_entry(table[at : at + ENTRY_SIZE])
        if name in names:
            raise BadImage("format")
        names.add(name)
        size += length
    if size != head["size"] or "main.py" not in names:
        raise BadImage("format")


def _text(field: bytes) -> str:
    """Return a name: ASCII, 0 behind it, not hidden."""
    end = field.find(b"\x00")
    name = field if end < 0 else field[:end]
    if any(field[len(name) :]) or not name or name[0] == 46:
        raise BadImage("format")
    for byte in name:
        if byte not in _NAME_BYTES:
            raise BadImage("format")
    return name.decode()
