"""Reads a build of MicroPython for the ESP32, as micropython.org gives it out: what it is, and its parts.

Such a file holds the flash from 0x1000 on: boot loader, partition table (0x8000) and MicroPython itself (0x10000).
Source: MicroPython, ports/esp32/makeimg.py; ESP-IDF Programming Guide, "App Image Format".
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from esp_idf_defs import ImageMetadata, PartitionTable
from esp_idf_defs.image_metadata import ChipId, ImageFlashSize
from esp_idf_defs.partitions import InputError

from domain.errors import SettingInvalid
from ops.firmware.partitions import BOOTLOADER_AT, TABLE_AT, partition

BYTECODE = (6, 3)
RELEASE = (1, 28)
"""What the firmware is compiled for, type-checked against and tested with."""
_BANNER = re.compile(rb"MicroPython v(\d{1,3})\.(\d{1,3})\.(\d{1,3})[^ \0]{0,60} on ")
_TABLE_BYTES = 0xC00


@dataclass(frozen=True)
class MicroPythonBuild:
    """A build, cut into what is flashed.

    Args:
        version: such as 1.28.0.
        bootloader: goes to `BOOTLOADER_AT`.
        application: MicroPython itself, goes to the partition `factory`.
    """

    version: str
    bootloader: bytes
    application: bytes


def read_micropython(path: Path) -> MicroPythonBuild:
    """The build in this file.

    Raises:
        SettingInvalid: no build for an ESP32 with 4 MiB, damaged, or another release; says which.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingInvalid(f"--micropython: {path} cannot be read: {error.strerror}") from error
    try:
        return _read(content)
    except SettingInvalid as error:
        raise SettingInvalid(f"--micropython: {path.name}: {error}") from error


def _read(content: bytes) -> MicroPythonBuild:
    factory = partition("factory")
    table_at, application_at = TABLE_AT - BOOTLOADER_AT, factory.at - BOOTLOADER_AT
    bootloader, application = content[:table_at], content[application_at:]
    if _check_image(bootloader, "boot loader") < ImageFlashSize.MB4:
        raise SettingInvalid("it is for a flash of less than 4 MiB")
    _check_table(content[table_at : table_at + _TABLE_BYTES])
    _check_image(application, "application")
    if len(application) > factory.size:
        raise SettingInvalid(f"it has {len(application)} bytes, and there is room for {factory.size}")
    return MicroPythonBuild(_version(application), bootloader.rstrip(b"\xff"), application)


def _check_image(image: bytes, what: str) -> int:
    """Return how large a flash it is for, as its header says."""
    try:
        header = ImageMetadata.from_bytes(image).header
    except (ValueError, IndexError, struct.error) as error:
        raise SettingInvalid(f"its {what} is damaged, or this is no build for the ESP32 ({error})") from error
    if header.chip_id != ChipId.ESP32:
        raise SettingInvalid(f"its {what} is for the {header.chip_id.name}, not for the ESP32")
    return int(header.spi_size)


def _check_table(table: bytes) -> None:
    """What is replaced must be what this was made for: one application, where ours has it."""
    try:
        found = PartitionTable.from_binary(table).find_by_name("factory")
    except (InputError, ValueError, struct.error) as error:
        raise SettingInvalid(f"its partition table is damaged ({error})") from error
    if found is None or found.offset != partition("factory").at:
        raise SettingInvalid("its partition table is another one than that of the plain build (ESP32_GENERIC)")


def _version(application: bytes) -> str:
    banner = _BANNER.search(application)
    if banner is None:
        raise SettingInvalid("it does not say which MicroPython it is")
    major, minor, patch = (int(number) for number in banner.groups())
    if (major, minor) != RELEASE:
        wanted, bytecode = ".".join(map(str, RELEASE)), ".".join(map(str, BYTECODE))
        raise SettingInvalid(
            f"it is MicroPython {major}.{minor}.{patch}; the firmware is compiled for {wanted} (bytecode {bytecode})"
        )
    return f"{major}.{minor}.{patch}"
