"""Where everything stands in a socket's flash: `firmware_mpy/partitions.csv`, and that as the boot loader reads it.

Source: ESP-IDF Programming Guide, "Partition Tables".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from esp_idf_defs import PartitionTable

from ops.firmware.fleet import FIRMWARE

BOOTLOADER_AT = 0x1000
"""Source: esptool documentation, "Flash layout" of the ESP32."""
TABLE_AT = 0x8000
FLASH_BYTES = 4 << 20


@dataclass(frozen=True)
class Partition:
    """A part of the flash; bytes."""

    at: int
    size: int


def partition(name: str) -> Partition:
    """The partition of this name."""
    found = _table().find_by_name(name)
    return Partition(found.offset, found.size)


def table_bytes() -> bytes:
    """The table as it stands in the flash at `TABLE_AT`, its checksum included."""
    return bytes(_table().to_binary())


@cache
def _table() -> PartitionTable:
    table = PartitionTable.from_csv((FIRMWARE / "partitions.csv").read_text(encoding="utf-8"))
    table.verify()
    table.verify_size_fits(FLASH_BYTES)
    return table
