"""A stand-in for a build of MicroPython: right headers, check sums and banner around no program at all.

There is no real one where these tests run; its layout is that of MicroPython's `ports/esp32/makeimg.py`.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import struct
from pathlib import Path

from esp_idf_defs import AppDescription, PartitionTable

TABLE = "nvs,data,nvs,0x9000,0x6000\nphy_init,data,phy,0xf000,0x1000\nfactory,app,factory,0x10000,0x1f0000\n"


def esp_image(content: bytes, *, chip: int = 0, flash_size: int = 2) -> bytes:
    """An image with one segment, and its check sum and SHA-256 behind it (`esp_image_header_t`)."""
    head = struct.pack("<BBBBIB3sHBHH4sB", 0xE9, 1, 2, flash_size << 4, 0x40080000, 0xEE, b"", chip, 0, 0, 0, b"", 1)
    content += b"\0" * (-len(content) % 4)
    image = head + struct.pack("<II", 0x3F400020, len(content)) + content
    image += b"\0" * (15 - len(image) % 16) + bytes([functools.reduce(operator.xor, content, 0xEF)])
    return image + hashlib.sha256(image).digest()


def micropython_bin(
    path: Path,
    *,
    version: str = "v1.28.0",
    chip: int = 0,
    flash_size: int = 2,
    table: str = TABLE,
    application_bytes: int = 200_000,
) -> Path:
    """Write one."""
    described = AppDescription("micropython", version, "v5.5.1", 0, b"\0" * 32).to_bytes()
    banner = f"MicroPython {version} on 2026-03-01\0Generic ESP32 module with ESP32\0".encode()
    application = esp_image(described + banner + bytes(range(251)) * (application_bytes // 251), chip=chip)
    bootloader = esp_image(b"boot" * 4000, chip=chip, flash_size=flash_size)
    content = bootloader.ljust(0x7000, b"\xff") + PartitionTable.from_csv(table).to_binary()
    path.write_bytes(content.ljust(0xF000, b"\xff") + application)
    return path
