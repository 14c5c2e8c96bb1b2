"""`wattaway firmware sign BUILD_DIR`: packs what was built into an image and signs it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import ImageRejected, InvalidInput, SettingInvalid
from domain.firmware_image import encode_image
from domain.firmware_keys import fingerprint, read_private_key, sign
from ops.firmware.build_dir import Build, read_build
from ops.firmware.cli import firmware


@firmware.command(
    "sign",
    epilog="Example:  wattaway firmware sign build/uart-cse7766 --key fleet.pem -o uart-cse7766-1.2.0.wafw",
)
def sign_build(
    build_dir: Annotated[Path, typer.Argument(metavar="BUILD_DIR", help="What `wattaway firmware build` has written.")],
    key: Annotated[Path, typer.Option("--key", metavar="PRIVATE.pem", help="RSA-3072; see `new-key`.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="BOARD-VERSION.wafw unless said otherwise.")
    ] = None,
) -> None:
    """Pack a build into one signed image, which sockets with this key take as their update."""
    build = read_build(build_dir)
    content, signer = signed_image(build, key)
    target = output or Path(f"{build.head.board}-{build.head.version}.wafw")
    target.write_bytes(content)
    sha256, head = hashlib.sha256(content).hexdigest(), build.head
    typer.echo(
        f"{target}: {head.board} {head.version}, counter {head.counter}, {len(content)} bytes\n"
        f"sha256 {sha256}\nsigned by {signer}"
    )


def signed_image(build: Build, key_path: Path) -> tuple[bytes, str]:
    """The image, and the fingerprint of who signed it.

    Raises:
        SettingInvalid: the key is none, or the build does not fit into an image.
    """
    try:
        key = read_private_key(key_path.read_bytes())
    except OSError as error:
        raise SettingInvalid(f"--key: {key_path}: {error.strerror}") from error
    except InvalidInput as error:
        raise SettingInvalid(f"--key: {key_path}: {error.detail}") from error
    try:
        content = encode_image(build.head, build.files, lambda signed: sign(key, signed))
    except ImageRejected as error:
        raise SettingInvalid(f"this build cannot be an image: {error.detail}") from error
    return content, fingerprint(key.public_key())
