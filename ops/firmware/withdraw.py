"""`wattaway firmware withdraw BOARD COUNTER`: no socket gets a release any more."""

from __future__ import annotations

from typing import Annotated

import typer

from domain.lifecycle.firmware import MOST_COUNTER
from ops.firmware.api import ApiUrl, TokenFile, firmware_api
from ops.firmware.cli import firmware


@firmware.command(epilog="Example:  wattaway firmware withdraw uart-cse7766 3 --reason 'some sockets report no power'")
def withdraw(
    board: Annotated[str, typer.Argument(help="As `wattaway firmware releases` shows it.")],
    counter: Annotated[int, typer.Argument(min=1, max=MOST_COUNTER, help="Of the release.")],
    reason: Annotated[str | None, typer.Option(help="Why, for the audit log.")] = None,
    api: ApiUrl = None,
    token_file: TokenFile = None,
) -> None:
    """Offer a release to no socket any more. Those that run it keep it: publish a newer one to replace it."""
    release = firmware_api(api, token_file).withdraw(board, counter, reason)
    typer.echo(
        f"{release['board']} {release['version']}, counter {release['counter']}: withdrawn at {release['withdrawn_at']}"
    )
