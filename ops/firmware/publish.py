"""`wattaway firmware publish FILE.wafw`: lets the sockets of its board have a signed image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from domain.errors import ImageRejected, SettingInvalid
from domain.firmware_image import decode_image
from ops.firmware.api import ApiUrl, TokenFile, firmware_api
from ops.firmware.cli import firmware


@firmware.command(
    epilog="Example:  WATTAWAY_TOKEN=… wattaway firmware publish uart-cse7766-1.2.0.wafw --notes 'steadier Wi-Fi'"
)
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE.wafw", help="What `wattaway firmware sign` has written.")],
    notes: Annotated[str | None, typer.Option(help="What is new, for other admins.")] = None,
    api: ApiUrl = None,
    token_file: TokenFile = None,
) -> None:
    """Publish a signed image. The server checks it as a socket does; sockets ask for it within the next hour or two."""
    content = _read(file)
    release, is_new = firmware_api(api, token_file).publish(content, notes)
    done = "published" if is_new else "was published before"
    typer.echo(
        f"{release['board']} {release['version']}, counter {release['counter']}: {done}\nsha256 {release['sha256']}"
    )


def _read(file: Path) -> bytes:
    """The image, which is one."""
    try:
        content = file.read_bytes()
        decode_image(content)
    except OSError as error:
        raise SettingInvalid(f"{file}: {error.strerror}") from error
    except ImageRejected as error:
        raise SettingInvalid(f"{file}: {error.detail}") from error
    return content
