"""Makes update images as their format says, signed by a key of the test's own."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

BOARD = "uart-cse7766"
FILES = {"main.py": b"import release\nRUNS = release.VERSION\n", "big.bin": bytes(range(256)) * 50}


@cache
def key(number: int) -> rsa.RSAPrivateKey:
    """A key of 3072 bits; another number is another key."""
    return rsa.generate_private_key(65537, 3072)


def modulus(number: int = 0) -> bytes:
    """What a socket knows of a key."""
    return key(number).public_key().public_numbers().n.to_bytes(384, "big")


def image(counter: int = 2, *, board: str = BOARD, signer: int = 0, files: Mapping[str, bytes] = FILES) -> bytes:
    """A whole, signed image of version 1.`counter`.0."""
    version = f"1.{counter}.0"
    told = f'VERSION = "{version}"\nCOUNTER = {counter}\n'.encode()
    content = {**files, "release.py": told}
    table = b"".join(struct.pack("<40sI", name.encode(), len(data)) for name, data in content.items())
    rest = table + b"".join(content.values())
    head = struct.pack(
        "<4sB3s32s24sIIHH32s20s",
        *(b"WAFW", 1, b"", board.encode(), version.encode(), counter, 512 + len(rest), len(content), 0),
        *(hashlib.sha256(rest).digest(), b""),
    )
    return head + key(signer).sign(head, padding.PKCS1v15(), SHA256()) + rest


def offer(content: bytes, counter: int = 2) -> dict[str, Any]:
    """What a server says about an image."""
    told = {"version": f"1.{counter}.0", "counter": counter, "size": len(content), "url": "/image"}
    return {**told, "sha256": hashlib.sha256(content).hexdigest()}
