"""`wattaway firmware releases`: what is published, and what was withdrawn."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ops.firmware.api import ApiUrl, TokenFile, firmware_api
from ops.firmware.cli import firmware

_SHOWN = ("board", "version", "counter", "size", "sha256", "published_at", "published_by", "withdrawn_at", "notes")


@firmware.command(epilog="Examples:  wattaway firmware releases   ·   wattaway firmware releases --board uart-cse7766")
def releases(
    board: Annotated[str | None, typer.Option(help="Only this board's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    api: ApiUrl = None,
    token_file: TokenFile = None,
) -> None:
    """List published firmware, newest first."""
    found = list(firmware_api(api, token_file).releases(board))
    if as_json:
        Console().print_json(json.dumps(found))
        return
    table = Table()
    for name in _SHOWN:
        table.add_column(name.replace("_", " "), overflow="fold")
    for one in found:
        table.add_row(*("" if one[name] is None else str(one[name]) for name in _SHOWN))
    Console().print(table)
