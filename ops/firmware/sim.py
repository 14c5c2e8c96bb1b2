"""`wattaway firmware sim N`: real firmwares in MicroPython processes, registered like any socket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.firmware.cli import firmware
from ops.logs import configure_logging
from ops.settings import load_settings


@firmware.command(
    epilog="Examples:  wattaway firmware sim 5   ·   wattaway firmware sim 200 --interval 1 --duration 60"
)
def sim(
    sockets: Annotated[int, typer.Argument(min=1, max=5000, metavar="N", help="How many sockets.")],
    interval: Annotated[float, typer.Option(min=1, max=3600, metavar="S", help="Seconds between two readings.")] = 10.0,
    duration: Annotated[float | None, typer.Option(min=0.1, metavar="S", help="Stop after S seconds.")] = None,
    id_prefix: Annotated[str, typer.Option(help="How the device ids begin.")] = "fw",
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where their flash is kept.", show_default=False)
    ] = None,
) -> None:
    """Run N sockets with the real firmware against the configured servers, until SIGTERM or Ctrl-C."""
    from ops.firmware.fleet import FirmwareFleetPlan
    from ops.firmware.sim_run import ROLE, run_firmware_fleet

    settings = load_settings(**({} if data_dir is None else {"data_dir": data_dir}))
    configure_logging(settings.log_format, settings.log_level, ROLE)
    raise typer.Exit(run_firmware_fleet(settings, FirmwareFleetPlan(sockets, interval, duration, id_prefix)))
