"""`wattaway firmware new-key PATH`: a key that signs firmware, and what servers and boards know of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import SettingInvalid
from domain.firmware_keys import fingerprint, modulus, new_private_key, private_pem, public_pem
from ops.firmware.cli import firmware


@firmware.command("new-key", epilog="Example:  wattaway firmware new-key keys/fleet.pem")
def new_key(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Where the private key goes, for its owner only.")],
) -> None:
    """Make a key that signs firmware: the private key, the public one for the server, the modulus for the boards."""
    key = new_private_key()
    public, board = path.with_suffix(".public.pem"), path.with_suffix(".update_key.bin")
    for place, content, mode in (
        (path, private_pem(key), 0o600),
        (public, public_pem(key), 0o644),
        (board, modulus(key), 0o644),
    ):
        _write_new(place, content, mode)
    typer.echo(
        f"{path}: signs firmware; keep it off the server\n"
        f"{public}: for the server: WATTAWAY_FIRMWARE_KEYS={public}\n"
        f"{board}: for the boards, as `update_key.bin`\n"
        f"fingerprint {fingerprint(key.public_key())}"
    )


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is not there yet: nobody loses a key that boards in the field trust.

    Raises:
        SettingInvalid: it is there, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise SettingInvalid(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
