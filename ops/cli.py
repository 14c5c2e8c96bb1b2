"""The `wattaway` command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from domain.errors import SettingInvalid, WattAwayError
from ops.logs import configure_logging
from ops.settings import load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def wattaway() -> None:
    """Event-sourced telemetry for fleets of smart sockets."""


@app.command()
def run(role: Annotated[str, typer.Argument(help="bridge, projector, api or device-auth")]) -> None:
    """Run one role against the configured servers."""
    from ops.wiring import ROLES

    if role not in ROLES:
        raise typer.BadParameter(f"{role!r} is not one of {', '.join(ROLES)}", param_hint="ROLE")
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level, role)
    ROLES[role](settings)


def main() -> None:
    """The entry point: our errors are one line; exit code 2 for a wrong setting, 1 for the rest."""
    try:
        app()
    except WattAwayError as error:
        print(f"wattaway: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2 if isinstance(error, SettingInvalid) else 1)


if __name__ == "__main__":
    main()
