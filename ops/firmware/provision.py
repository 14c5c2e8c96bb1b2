"""`wattaway firmware provision`: sets a socket up over its serial cable. Secrets are asked for, or come from files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import SettingInvalid
from ops.firmware.cli import firmware, firmware_tools
from ops.firmware.flash import Port
from ops.secret_file import secret_in

_STDIN = Path("-")


@firmware.command(
    epilog="Examples:  wattaway firmware provision --ssid Home   ·   wattaway firmware provision --ssid Home "
    "--server mqtts://example.org --https https://example.org --ca ca.pem --device-id kettle"
)
def provision(
    ssid: Annotated[str, typer.Option(help="Name of the Wi-Fi.")],
    port: Port = None,
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its first line is the Wi-Fi's password (-: stdin); else asked for."),
    ] = None,
    server: Annotated[str | None, typer.Option(metavar="URL", help="mqtts://host[:port] or mqtt://…")] = None,
    device_id: Annotated[str | None, typer.Option(help="As which the socket is registered.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its first line is the socket's token (-: stdin); else asked for."),
    ] = None,
    https: Annotated[
        str | None, typer.Option(metavar="URL", help="https://host[:port]: where updates come from.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Who signed the servers' certificate (PEM).")] = None,
) -> None:
    """Tell a socket its Wi-Fi over the serial cable and, with --server, where it delivers to and its token."""
    if (server is None) != (device_id is None) or (server is None and (https or ca or token_file)):
        raise SettingInvalid("--server and --device-id belong together, and the other servers' options to them")
    with firmware_tools():
        from ops.firmware import provisioning
        from ops.firmware.serial_ports import chosen_port

    chosen = chosen_port(port)
    authority = provisioning.authority_in(ca) if ca else b""
    wifi = [ssid, _secret("--password-file", password_file, "Password of the Wi-Fi (empty: none)")]
    servers = []
    if server and device_id:
        servers = [
            server,
            device_id,
            _secret("--token-file", token_file, "Token of the socket"),
            *([https] if https else []),
        ]
    told = provisioning.SetUp([one.encode() for one in wifi], [one.encode() for one in servers], authority)
    provisioning.set_up(chosen, told, typer.echo)


def _secret(option: str, file: Path | None, question: str) -> str:
    if file is None:
        return str(typer.prompt(question, hide_input=True, default="", show_default=False))
    return sys.stdin.readline().rstrip("\r\n") if file == _STDIN else secret_in(file, option)
