"""The group `wattaway firmware`: everything about the sockets' own software. A command stands in a file of its own.

Such a file says `@firmware.command(…)`, and `ops/cli.py` imports it.
"""

from __future__ import annotations

import typer

firmware = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@firmware.callback()
def about() -> None:
    """Build, sign, install and run the sockets' own software."""
