"""`wattaway firmware verify`: whether the flash of a board holds a build."""

from __future__ import annotations

import json
from pathlib import Path

from domain.errors import SettingInvalid
from ops.firmware.cli import firmware, firmware_tools
from ops.firmware.esptool import BAUD, verify_flash
from ops.firmware.flash import Baud, Build, Port


@firmware.command(epilog="Example:  wattaway firmware verify build --port /dev/ttyUSB0")
def verify(folder: Build, port: Port = None, baud: Baud = BAUD) -> None:
    """Compare a board's flash with a build: boot loader, partition table, MicroPython and files."""
    with firmware_tools():
        from ops.firmware.serial_ports import chosen_port
    verify_flash(chosen_port(port), built_parts(folder), baud=baud)


def built_parts(folder: Path) -> list[tuple[int, Path]]:
    """The parts of a build that no start of the board changes, each with its address.

    Raises:
        SettingInvalid: it is no build.
    """
    try:
        parts = json.loads((folder / "build.json").read_text(encoding="utf-8"))["parts"]
        return [(int(at), folder / name) for name, at in parts.items()]
    except (OSError, ValueError, KeyError) as error:
        raise SettingInvalid(f"{folder} holds no build: make one with `wattaway firmware build`") from error
