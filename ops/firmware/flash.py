"""`wattaway firmware flash`: a build into the flash of the board that hangs on a serial port."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from domain.errors import SettingInvalid
from ops.firmware.cli import firmware, firmware_tools
from ops.firmware.esptool import BAUD, write_flash

Build = Annotated[Path, typer.Argument(metavar="DIR", help="What `wattaway firmware build` has made.")]
Port = Annotated[
    str | None, typer.Option(help="Serial port of the board.", show_default="the only USB one", metavar="PORT")
]
Baud = Annotated[int, typer.Option(min=9600, help="Speed of the transfer.")]


def built_image(folder: Path) -> Path:
    """The file of this build that is flashed.

    Raises:
        SettingInvalid: there is none.
    """
    image = folder / "firmware.bin"
    if not image.exists():
        raise SettingInvalid(f"{folder} holds no firmware.bin: make one with `wattaway firmware build`")
    return image


@firmware.command(epilog="Example:  wattaway firmware flash build --port /dev/ttyUSB0")
def flash(
    folder: Build,
    port: Port = None,
    baud: Baud = BAUD,
    erase_all: Annotated[
        bool, typer.Option("--erase-all", help="Erase also what the socket has kept: for a board's first time.")
    ] = False,
) -> None:
    """Write a build into a board. Its set-up, its counters and readings stay unless --erase-all is said."""
    with firmware_tools():
        from ops.firmware.serial_ports import chosen_port
    write_flash(chosen_port(port), built_image(folder), baud=baud, erase_all=erase_all)
