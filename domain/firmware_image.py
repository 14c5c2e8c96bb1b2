"""The file that a firmware update is, as it is signed and checked here.

`firmware_mpy/firmware_image.py`, which reads it on the socket, describes the format; a test holds both against each
other.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from domain.errors import ImageRejected

MOST_IMAGE_BYTES = 4 * 1024 * 1024
"""More than any board's partition."""
HEAD_SIZE, SIGNED_SIZE = 128, 512
MOST_FILES = 128
MOST_COUNTER = 2**31 - 1
NAME_PATTERN = "[A-Za-z0-9_-][A-Za-z0-9._-]*"
MOST_BOARD_NAME = 32
START_FILE = "main.py"

_HEAD = struct.Struct("<4sB3s32s24sIIHH32s20s")
_ENTRY = struct.Struct("<40sI")
_MAGIC, _FORMAT = b"WAFW", 1
_is_name = re.compile(NAME_PATTERN).fullmatch

Sign = Callable[[bytes], bytes]
"""The head's 128 bytes → their signature of 384."""


@dataclass(frozen=True)
class ImageHead:
    """Who an image is for and which release it is."""

    board: str
    version: str
    counter: int


@dataclass(frozen=True)
class Image:
    """A whole image; only its signature is unchecked: that of `signed` must be `signature`."""

    head: ImageHead
    files: Mapping[str, bytes]
    signed: bytes
    signature: bytes


def encode_image(head: ImageHead, files: Mapping[str, bytes], sign: Sign) -> bytes:
    """The image of these files.

    Raises:
        ImageRejected: something does not fit the format; names it.
    """
    _check_content(head, files)
    table = b"".join(_ENTRY.pack(_packed(name, 40), len(content)) for name, content in files.items())
    rest = table + b"".join(files.values())
    size = SIGNED_SIZE + len(rest)
    if size > MOST_IMAGE_BYTES:
        raise ImageRejected("size", f"{size} bytes are more than the {MOST_IMAGE_BYTES} that an image may have")
    board, version = _packed(head.board, MOST_BOARD_NAME), _packed(head.version, 24)
    numbers = (head.counter, size, len(files), 0)
    signed = _HEAD.pack(_MAGIC, _FORMAT, b"", board, version, *numbers, hashlib.sha256(rest).digest(), b"")
    return signed + sign(signed) + rest


def decode_image(content: bytes) -> Image:
    """The image in these bytes.

    Raises:
        ImageRejected: it is none; the reasons are those of the socket.
    """
    if len(content) < SIGNED_SIZE:
        raise ImageRejected("truncated", f"{len(content)} bytes are not even a head and its signature")
    magic, layout, gap, board, version, counter, size, count, more, digest, last = _HEAD.unpack_from(content)
    if magic != _MAGIC or layout != _FORMAT or any(gap) or more or any(last):
        raise ImageRejected("format", "this is no firmware image")
    if not 0 < count <= MOST_FILES or size < SIGNED_SIZE + count * _ENTRY.size or not 0 < counter <= MOST_COUNTER:
        raise ImageRejected("format", f"{count} files, {size} bytes, counter {counter}: this cannot be")
    head = ImageHead(_unpacked(board), _unpacked(version), counter)
    if len(content) != size:
        reason = "truncated" if len(content) < size else "format"
        raise ImageRejected(reason, f"the head says {size} bytes; there are {len(content)}")
    if hashlib.sha256(memoryview(content)[SIGNED_SIZE:]).digest() != digest:
        raise ImageRejected("digest", "the files are not those that the head was made for")
    return Image(head, _files(content, count), content[:HEAD_SIZE], content[HEAD_SIZE:SIGNED_SIZE])


def _files(content: bytes, count: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    at = SIGNED_SIZE + count * _ENTRY.size
    for number in range(count):
        packed, size = _ENTRY.unpack_from(content, SIGNED_SIZE + number * _ENTRY.size)
        name = _unpacked(packed)
        if name in files:
            raise ImageRejected("format", f"{name} is in it twice")
        files[name] = content[at : at + size]
        at += size
    if at != len(content) or START_FILE not in files:
        raise ImageRejected("format", f"the files do not fill it, or there is no {START_FILE}")
    return files


def _check_content(head: ImageHead, files: Mapping[str, bytes]) -> None:
    if not 0 < head.counter <= MOST_COUNTER:
        raise ImageRejected("counter", f"counter {head.counter} is not between 1 and {MOST_COUNTER}")
    if START_FILE not in files:
        raise ImageRejected("files", f"there is no {START_FILE}, which a socket starts")
    if len(files) > MOST_FILES:
        raise ImageRejected("files", f"{len(files)} files are more than {MOST_FILES}")


def _packed(name: str, length: int) -> bytes:
    if not _is_name(name) or len(name) > length:
        raise ImageRejected("name", f"{name[:80]!r} is not 1 to {length} of A-Z a-z 0-9 . _ -, or begins with a dot")
    return name.encode()


def _unpacked(field: bytes) -> str:
    name, _, filling = field.partition(b"\x00")
    text = name.decode("latin-1")
    if any(filling) or not _is_name(text):
        raise ImageRejected("format", f"{text[:40]!r} is no name")
    return text
