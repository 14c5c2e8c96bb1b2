"""Images: what is written is read, here and by the socket's own code, and neither takes what the other refuses."""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ImageRejected
from domain.firmware_image import (
    HEAD_SIZE,
    MOST_COUNTER,
    MOST_FILES,
    MOST_IMAGE_BYTES,
    SIGNED_SIZE,
    ImageHead,
    decode_image,
    encode_image,
)
from domain.firmware_keys import sign
from tests.firmware.signed_images import FILES, image, key

FIRMWARE = Path(__file__).parents[2] / "firmware_mpy"
_NAME = st.text("abcXYZ019._-", min_size=1, max_size=24).filter(lambda name: name[0] != ".")
_FILES = st.dictionaries(_NAME, st.binary(max_size=300), max_size=8).map(lambda files: {"main.py": b"", **files})
_HEADS = st.builds(ImageHead, _NAME, _NAME, st.integers(1, MOST_COUNTER))


def unsigned(head: bytes) -> bytes:
    return bytes(SIGNED_SIZE - HEAD_SIZE)


def _on_the_socket() -> ModuleType:
    """The socket's own reader, in CPython."""
    spec = importlib.util.spec_from_file_location("socket_firmware_image", FIRMWARE / "firmware_image.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOCKET = _on_the_socket()


def read_on_the_socket(content: bytes) -> dict[str, Any]:
    """The head, once all is checked that `slot_files.check_slot` checks, signature and board apart."""
    if len(content) < SIGNED_SIZE:
        raise SOCKET.BadImage("truncated")
    head: dict[str, Any] = SOCKET.read_head(content)
    if hashlib.sha256(content[SIGNED_SIZE : head["size"]]).digest() != head["digest"] or head["size"] != len(content):
        raise SOCKET.BadImage("digest")
    SOCKET.check_table(head, content[SIGNED_SIZE : SIGNED_SIZE + head["files"] * SOCKET.ENTRY_SIZE])
    return head


def is_taken(read: Any, content: bytes) -> bool:
    try:
        read(content)
    except (ImageRejected, SOCKET.BadImage):
        return False
    return True


@settings(deadline=None)
@given(_HEADS, _FILES)
def test_what_is_written_is_read_here_and_on_the_socket(head: ImageHead, files: dict[str, bytes]) -> None:
    content = encode_image(head, files, unsigned)
    found = decode_image(content)
    assert (found.head, found.files) == (head, files)
    assert found.signed + found.signature == content[:SIGNED_SIZE]
    there = read_on_the_socket(content)
    assert (there["board"], there["version"], there["counter"]) == (head.board, head.version, head.counter)
    assert there["files"] == len(files)


def test_the_bytes_are_those_that_the_format_describes() -> None:
    told = {**FILES, "release.py": b'VERSION = "1.2.0"\nCOUNTER = 2\n'}
    head = ImageHead("uart-cse7766", "1.2.0", 2)
    assert encode_image(head, told, lambda signed: sign(key(0), signed)) == image(2)


_SMALL = encode_image(ImageHead("board", "1.2.0", 7), {"main.py": b"1", "a": b"23"}, unsigned)
_HEAD_BYTES = struct.Struct("<4sB3s32s24sIIHH32s20s")


@settings(deadline=None)
@given(st.integers(0, len(_SMALL) - 1), st.integers(1, 255), st.booleans())
def test_a_changed_byte_is_refused_here_if_it_is_on_the_socket(at: int, flips: int, seals: bool) -> None:
    changed = bytearray(_SMALL)
    changed[at] ^= flips
    if seals:
        # The digest of what is there now, so that the table itself is looked at.
        changed[_HEAD_BYTES.size - 52 : _HEAD_BYTES.size - 20] = hashlib.sha256(changed[SIGNED_SIZE:]).digest()
    content = bytes(changed)
    assert is_taken(decode_image, content) == is_taken(read_on_the_socket, content)


@pytest.mark.parametrize(
    ("table", "is_good"),
    [
        ([("main.py", 3)], True),
        ([("main.py", 1), ("a", 2)], True),
        ([("main.py", 2)], False),
        ([("main.py", 4)], False),
        ([("main.py", 1), ("main.py", 2)], False),
        ([("other.py", 3)], False),
        ([], False),
    ],
)
def test_the_table_names_each_file_once_and_fills_the_image(table: list[tuple[str, int]], is_good: bool) -> None:
    rest = b"".join(struct.pack("<40sI", name.encode(), size) for name, size in table) + b"123"
    numbers = (7, SIGNED_SIZE + len(rest), len(table), 0)
    signed = _HEAD_BYTES.pack(b"WAFW", 1, b"", b"board", b"1.2.0", *numbers, hashlib.sha256(rest).digest(), b"")
    content = signed + unsigned(signed) + rest
    assert is_taken(decode_image, content) == is_taken(read_on_the_socket, content) == is_good


@settings(deadline=None)
@given(st.binary(max_size=700) | st.integers(0, len(_SMALL)).map(lambda cut: _SMALL[:cut]) | st.just(_SMALL + b"x"))
def test_anything_else_is_refused(content: bytes) -> None:
    assert is_taken(decode_image, content) == is_taken(read_on_the_socket, content) == (content == _SMALL)


@pytest.mark.parametrize(
    ("head", "files", "reason"),
    [
        (ImageHead("b", "1", 0), {"main.py": b""}, "counter"),
        (ImageHead("b", "1", MOST_COUNTER + 1), {"main.py": b""}, "counter"),
        (ImageHead("b" * 33, "1", 1), {"main.py": b""}, "name"),
        (ImageHead("", "1", 1), {"main.py": b""}, "name"),
        (ImageHead("b", "1 2", 1), {"main.py": b""}, "name"),
        (ImageHead("b", "1", 1), {"main.py": b"", "sub/x.py": b""}, "name"),
        (ImageHead("b", "1", 1), {"main.py": b"", ".hidden": b""}, "name"),
        (ImageHead("b", "1", 1), {"other.py": b""}, "files"),
        (ImageHead("b", "1", 1), {"main.py": b"", **{f"f{n}": b"" for n in range(MOST_FILES)}}, "files"),
        (ImageHead("b", "1", 1), {"main.py": bytes(MOST_IMAGE_BYTES)}, "size"),
    ],
)
def test_what_does_not_fit_is_not_written(head: ImageHead, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(ImageRejected) as refused:
        encode_image(head, files, unsigned)
    assert refused.value.reason == reason
