"""The group `wattaway firmware`: everything about the sockets' own software. A command stands in a file of its own.

Such a file says `@firmware.command(…)`, and `commands.py` imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from domain.errors import SettingInvalid

firmware = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@firmware.callback()
def about() -> None:
    """Build, sign, install and run the sockets' own software."""


@contextmanager
def firmware_tools() -> Iterator[None]:
    """Say what to install if a library is missing that only these commands need."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingInvalid(f"this needs {error.name}: pip install 'wattaway[firmware]'") from error
