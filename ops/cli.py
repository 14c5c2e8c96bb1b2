"""The `wattaway` command: what an operator types. Every command is a few lines; the work is elsewhere."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from domain.errors import SettingInvalid, WattAwayError
from ops.complaints import complaint
from ops.firmware.commands import firmware as firmware_commands
from ops.logs import configure_logging
from ops.secret_file import secret_in
from ops.settings import Settings, load_settings
from ops.settings_table import settings_listing, unknown_settings

WRONG_SETTING_EXIT_CODE = 2

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(firmware_commands, name="firmware")
out = Console()
complaints = Console(stderr=True, soft_wrap=True, highlight=False)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Where the embedded servers and secrets live (WATTAWAY_DATA_DIR).",
        show_default=False,
    ),
]


@app.callback(epilog="First steps: [bold]wattaway up --simulate 20[/bold]   Settings: [bold]wattaway settings[/bold]")
def wattaway() -> None:
    """Event-sourced telemetry for fleets of smart sockets."""


@app.command(epilog="Examples:  wattaway up --simulate 20   ·   wattaway up --firmware 5 --duration 60")
def up(
    simulate: Annotated[int, typer.Option(min=0, metavar="N", help="Also run N simulated sockets.")] = 0,
    firmware: Annotated[
        int, typer.Option(min=0, max=5000, metavar="N", help="Also run N sockets with the real firmware.")
    ] = 0,
    duration: Annotated[
        float | None,
        typer.Option(min=1, metavar="S", help="End after S seconds: drain, verify, exit 0 only if it holds."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Start the embedded servers and every role under one supervisor. Ctrl-C stops all cleanly."""
    from ops.up import UpPlan, run_up

    raise typer.Exit(run_up(_settings(data_dir), UpPlan(simulate, duration, firmware), out))


@app.command(
    epilog="Examples:  wattaway run bridge   ·   WATTAWAY_PROJECTOR_INSTANCE=projector-2 wattaway run projector"
)
def run(
    role: Annotated[
        str, typer.Argument(help="bridge, projector, relay, dispatcher, api, device-auth or broker-accounts")
    ],
    data_dir: DataDir = None,
) -> None:
    """Run one role against the configured servers, until SIGTERM or Ctrl-C."""
    from ops.run_role import ROLES

    if role not in ROLES:
        raise typer.BadParameter(f"{role!r} is not one of {', '.join(sorted(ROLES))}", param_hint="ROLE")
    settings = _settings(data_dir)
    configure_logging(settings.log_format, settings.log_level, role)
    ROLES[role](settings)


@app.command(epilog="Examples:  wattaway simulate 50   ·   wattaway simulate 500 --interval 1 --duration 60 --seed 7")
def simulate(
    sockets: Annotated[int, typer.Argument(min=1, metavar="N", help="How many sockets.")],
    interval: Annotated[float, typer.Option(min=0.001, metavar="S", help="Seconds between two readings.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal homes.")] = 1,
    duration: Annotated[
        float | None, typer.Option(min=0.1, metavar="S", help="Stop measuring after S seconds.")
    ] = None,
    readings: Annotated[int | None, typer.Option(min=1, help="Stop each socket after so many readings.")] = None,
    id_prefix: Annotated[str, typer.Option(help="How the device ids begin.")] = "sim",
    drain: Annotated[float, typer.Option(min=0, metavar="S", help="How long to wait for the last receipts.")] = 20.0,
    data_dir: DataDir = None,
) -> None:
    """Simulate a fleet over real MQTT connections; exit 0 only if every reading was receipted."""
    from ops.simulator.command import run_simulation
    from ops.simulator.fleet import SimulationPlan

    settings = _settings(data_dir)
    configure_logging(settings.log_format, settings.log_level, "simulator")
    plan = SimulationPlan(
        sockets,
        interval_s=interval,
        seed=seed,
        duration_s=duration,
        readings=readings,
        id_prefix=id_prefix,
        drain_s=drain,
    )
    raise typer.Exit(run_simulation(settings, plan))


@app.command(epilog="Examples:  wattaway replay day.csv.gz   ·   wattaway replay day.csv.gz --speed 1 --shift now")
def replay(
    file: Annotated[
        Path, typer.Argument(help="CSV (.gz) with the columns ts,device_id,power_w[,energy_wh,voltage_v].")
    ],
    speed: Annotated[str, typer.Option(help="max, or how many times as fast as it was measured.")] = "max",
    shift: Annotated[str, typer.Option(help="Move every instant: now, or a time such as -90m, 36h, 3650d.")] = "0",
    data_dir: DataDir = None,
) -> None:
    """Replay a trace file as sockets; exit 0 only if every line was taken and receipted."""
    from ops.replay import run_replay
    from ops.replay_plan import ReplayPlan, parse_shift, parse_speed

    settings = _settings(data_dir)
    configure_logging(settings.log_format, settings.log_level, "replay")
    raise typer.Exit(run_replay(settings, ReplayPlan(file, speed=parse_speed(speed), shift_ms=parse_shift(shift))))


@app.command(
    "set-up",
    epilog="Examples:  wattaway set-up   ·   wattaway set-up --email ada@example.org --name Ada --password-file secret",
)
def set_up(
    email: Annotated[str | None, typer.Option(help="What the first user signs in with.")] = None,
    name: Annotated[str | None, typer.Option(help="What the first user is called.")] = None,
    tenant: Annotated[str | None, typer.Option(help="A home or business of the first user's own.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="Its first line is the password; else asked for.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make the first user: the admin, who also owns the demo's sockets. Asks for what is not said."""
    from domain.lifecycle.claim import FirstUser
    from ops import first_user

    found = _logging("set-up", data_dir)
    if first_user.is_set_up(found):
        raise SettingInvalid("somebody has set this installation up already; sign in, or ask its admin")
    email = first_user.checked_email(email or typer.prompt("Email"))
    if password_file is None:
        name = name or typer.prompt("Name")
        tenant = tenant or typer.prompt("Name of your home or business (empty: none)", default="", show_default=False)
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = secret_in(password_file, "--password-file")
    user = FirstUser(email, name or email.partition("@")[0], first_user.checked_password(password), tenant or None)
    owned = first_user.set_up(found, user)
    out.print(f"{email} is the admin now" + (f", and owns {owned} tenants" if owned else ""), highlight=False)


@app.command(epilog="Example:  wattaway rebuild")
def rebuild(data_dir: DataDir = None) -> None:
    """Fold the whole log into fresh tables and swap them in; the projector may go on meanwhile."""
    from rich.progress import Progress

    from ops.read_models import rebuild_read_models

    found = _logging("rebuild", data_dir)
    with Progress(console=out, transient=True) as progress:
        task = progress.add_task("records", total=None)
        done = rebuild_read_models(found, lambda count, total: progress.update(task, completed=count, total=total))
    out.print(done, soft_wrap=True, highlight=False)


@app.command(epilog="Example:  wattaway verify || echo 'the read models differ from the log'")
def verify(
    caught_up: Annotated[
        bool, typer.Option("--caught-up", help="Also exit 1 if records of the log are not projected yet.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Compare the log with the read models; names the first difference and exits 1 on any."""
    from ops.read_models import verify_read_models

    found = verify_read_models(_logging("verify", data_dir))
    holds = found.ok and not (caught_up and found.lag_records)
    style = "bold red" if not holds else "yellow" if found.lag_records else "green"
    out.print(str(found), style=style, soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(0 if holds else 1)


@app.command(epilog="Example:  wattaway migrate")
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database's tables up to date (or make them)."""
    from ops.wiring import migrate as migrate_database

    out.print(migrate_database(_logging("migrate", data_dir)), highlight=False)


@app.command(epilog="Example:  wattaway status --json")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False, data_dir: DataDir = None
) -> None:
    """Say what answers, what is in the log and how far the read models are; exit 1 if a server is out of reach."""
    from ops.status import look
    from ops.status_table import status_json, status_table

    found = asyncio.run(look(_logging("status", data_dir)))
    if as_json:
        out.print_json(status_json(found))
    else:
        out.print(status_table(found))
    raise typer.Exit(0 if found.servers_answer else 1)


@app.command(epilog="Examples:  wattaway audit device:kitchen-kettle   ·   wattaway audit user:ID --json")
def audit(
    thing: Annotated[
        str, typer.Argument(metavar="THING", help="device:, user:, tenant: or command:ID, firmware:BOARD")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show everything that was decided about one thing, from the event store."""
    from ops import audit as audits
    from ops.application import open_application

    with open_application(_logging("audit", data_dir)) as application:
        lines = audits.stream_of(thing, application.lifecycle, application.personal)
    if as_json:
        out.print_json(audits.as_json(lines))
    else:
        out.print(audits.as_table(thing, lines))


@app.command(epilog="Example:  WATTAWAY_TIME_ZONE=Europe/Berlin wattaway settings")
def settings(data_dir: DataDir = None) -> None:
    """Print every setting with its meaning, value and default, ready for a `.env` file. Secrets are masked."""
    for line in settings_listing(_settings(data_dir)):
        out.print(line, style="dim" if line.startswith("#") else None, soft_wrap=True, highlight=False, markup=False)


def _settings(data_dir: Path | None) -> Settings:
    """The settings, after a word about names that look like settings but are none."""
    for name, meant in unknown_settings().items():
        hint = f"did you mean {meant}?" if meant else "`wattaway settings` lists them."
        complaints.print(f"wattaway: {name} is not a setting; {hint}", style="yellow")
    return load_settings(**({} if data_dir is None else {"data_dir": data_dir}))


def _logging(role: str, data_dir: Path | None) -> Settings:
    """The settings of a command that logs little, to a terminal."""
    settings = _settings(data_dir)
    configure_logging(settings.log_format, "warning" if settings.log_level == "info" else settings.log_level, role)
    return settings


def main() -> None:
    """The entry point: our errors are one line; exit code 2 for a wrong setting, 1 for the rest."""
    try:
        app()
    except (WattAwayError, OSError, ExceptionGroup) as error:
        cause = _first_cause(error)
        if not isinstance(cause, WattAwayError | OSError):
            raise
        complaints.print(f"wattaway: {complaint(cause)}", markup=False)
        sys.exit(WRONG_SETTING_EXIT_CODE if isinstance(cause, SettingInvalid) else 1)


def _first_cause(error: BaseException) -> BaseException:
    """What a task group of task groups failed of."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()
