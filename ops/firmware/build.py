"""`wattaway firmware build`: a board's firmware as one file to be flashed, and what an update image is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.firmware.cli import firmware, firmware_tools


@firmware.command(
    epilog="Example:  wattaway firmware build --board pulse-bl0937 --micropython ESP32_GENERIC-v1.28.0.bin "
    "--update-key updates.pem -o build"
)
def build(
    board: Annotated[str, typer.Option(metavar="FILE|NAME", help="Description of the board, or one that comes along.")],
    micropython: Annotated[Path, typer.Option(metavar="FILE", help="MicroPython 1.28 for the ESP32: the plain build.")],
    update_key: Annotated[
        Path, typer.Option(metavar="FILE", help="Public key (PEM, RSA-3072) of who signs updates, or its modulus.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to; a build there is replaced.")],
    version: Annotated[str | None, typer.Option(help="Of the release.", show_default="as the source says")] = None,
    counter: Annotated[
        int | None, typer.Option(help="Of the release; sockets install only higher ones.", show_default="the source's")
    ] = None,
) -> None:
    """Compile the firmware for a board, and merge it with MicroPython into one file that can be flashed."""
    with firmware_tools():
        from ops.firmware import building
        from ops.firmware.files import Release, source_release

    told = source_release()
    release = Release(version or told.version, told.counter if counter is None else counter)
    built = building.build(board, micropython, update_key, release, output)
    typer.echo(
        f"{built.image}: {built.board}, release {built.release.version} ({built.release.counter}), "
        f"MicroPython {built.micropython}; {built.application_bytes} bytes as an update"
    )
