"""`python -m ops.stack`: install, start, stop and look at the real servers on loopback."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import WattAwayError
from ops.service_users import service_users
from ops.settings import load_settings
from ops.stack.detached import DetachedChild
from ops.stack.mosquitto import ACL, PASSWORDS
from ops.stack.mosquitto_accounts import MosquittoAccounts
from ops.stack.packages import BROWSER, SERVERS, install, missing_packages
from ops.stack.ports import StackPorts
from ops.stack.private_files import write_private
from ops.stack.servers import RealServers

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
DataDir = Annotated[Path, typer.Option(help="Where the servers keep their data, logs and passwords.")]
_DEFAULT_DATA_DIR = Path(".stack")


@app.command("install")
def install_packages(
    browser: Annotated[bool, typer.Option(help="Chromium and its driver too, for the tests of the web page.")] = False,
    optional: Annotated[bool, typer.Option(help="Only warn where it cannot be done.")] = False,
) -> None:
    """Install the servers that are missing (Debian, root); no service is started."""
    missing = missing_packages(SERVERS | (BROWSER if browser else {}))
    if not missing:
        return
    typer.echo(f"installing {', '.join(missing)} …")
    try:
        install(missing)
    except WattAwayError as error:
        if not optional:
            raise
        typer.echo(f"warning: {error}", err=True)


@app.command()
def up(data_dir: DataDir = _DEFAULT_DATA_DIR) -> None:
    """Install what is missing and start MariaDB, Redis, Mosquitto and three nodes of Kafka on loopback."""
    install_packages()
    servers = _servers(data_dir)
    children = [DetachedChild(spec) for spec in servers.specs()]
    if all(child.pid is None for child in children):
        servers.ports.check_free()
    try:
        with ThreadPoolExecutor(len(children)) as pool:
            list(pool.map(DetachedChild.start, children))
    except BaseException:
        _stop(children)
        raise
    env_path = servers.data_dir / "env"
    write_private(env_path, "".join(f"{name}={value}\n" for name, value in servers.settings().items()))
    _print_status(children)
    typer.echo(f"\nThe app's settings, passwords among them, are in {env_path}. To use them:")
    typer.echo(f"  set -a; . {env_path}; set +a; wattaway migrate")
    typer.echo("  wattaway run broker-accounts & wattaway run bridge & wattaway simulate 20")


@app.command()
def down(
    data_dir: DataDir = _DEFAULT_DATA_DIR,
    erase: Annotated[bool, typer.Option(help="Delete their data too.")] = False,
) -> None:
    """Stop exactly what `up` has started."""
    servers = _servers(data_dir)
    _stop([DetachedChild(spec) for spec in servers.specs()])
    if erase:
        servers.erase()
    typer.echo("the real servers are stopped" + (" and their data is deleted" if erase else ""))


@app.command()
def status(data_dir: DataDir = _DEFAULT_DATA_DIR) -> None:
    """What runs; exit code 1 if something does not answer."""
    if not _print_status([DetachedChild(spec) for spec in _servers(data_dir).specs()]):
        raise typer.Exit(1)


@app.command()
def accounts(
    directory: Annotated[Path, typer.Argument(help="Where mosquitto.passwords and mosquitto.acl are (to be) kept.")],
) -> None:
    """Make the account files of a Mosquitto elsewhere (compose.yaml), so that it starts: our own roles' accounts.

    The devices' are added by `wattaway run broker-accounts`.
    """
    files = MosquittoAccounts(directory / PASSWORDS, directory / ACL)
    files.admit_services(service_users(load_settings()))
    typer.echo(f"{directory} lets in our own roles and {len(files.device_ids)} devices")


def _servers(data_dir: Path) -> RealServers:
    return RealServers(data_dir, StackPorts())


def _stop(children: list[DetachedChild]) -> None:
    with ThreadPoolExecutor(len(children)) as pool:
        list(pool.map(DetachedChild.stop, children))


def _print_status(children: list[DetachedChild]) -> bool:
    all_answer = True
    for child in children:
        answers = child.pid is not None and child.spec.is_ready()
        all_answer &= answers
        state = "stopped" if child.pid is None else "answers" if answers else "does not answer"
        typer.echo(f"{child.spec.name:<10} {state:<16} {'' if child.pid is None else f'pid {child.pid}'}".rstrip())
    return all_answer


def main() -> None:
    """Run the command; what goes wrong is one line."""
    try:
        app()
    except WattAwayError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
