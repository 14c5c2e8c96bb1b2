"""Serial ports: the one that is meant, and what is wrong with it in words."""

from __future__ import annotations

import serial
from serial.tools import list_ports

from domain.errors import SettingInvalid, WattAwayError


class PortUnusable(WattAwayError):
    """The serial port cannot be opened, or has gone; the message says what to do."""


def chosen_port(named: str | None) -> str:
    """The port that was named; else the only one there is, if it belongs to a USB adapter.

    Raises:
        SettingInvalid: there is none, or more than one.
    """
    if named is not None:
        return named
    found = sorted(port.device for port in list_ports.comports() if port.vid is not None)
    if len(found) == 1:
        return found[0]
    raise SettingInvalid(f"--port: name one of {', '.join(found)}" if found else "--port: there is no USB serial port")


def open_port(port: str, baud: int) -> serial.SerialBase:
    """The port, reads and writes of which end after a second at most.

    Neither DTR nor RTS is driven, as most boards would be restarted by them.

    Raises:
        PortUnusable: it cannot be opened.
    """
    try:
        opened = serial.serial_for_url(port, baudrate=baud, timeout=0.05, write_timeout=1, do_not_open=True)
        opened.dtr = opened.rts = False
        opened.open()
    except (serial.SerialException, ValueError, OSError) as error:
        raise PortUnusable(unusable(port, error)) from error
    return opened


def unusable(port: str, error: Exception) -> str:
    """Why a port cannot be used, in one line."""
    words = str(error)
    if "Permission denied" in words:
        return f"no permission to use {port}: join the group that owns it (often dialout), and sign in again"
    if "No such file" in words:
        return f"there is no {port}: is the cable in?"
    return f"{port} cannot be used ({words}): is another program using it?"
