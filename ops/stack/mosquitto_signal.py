"""Has a running Mosquitto read its account files again; it drops exactly those whose account has changed."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from ops.embedded.ports import is_open

_PROBE_S = 0.5


def mosquitto_process(pid_file: Path) -> psutil.Process | None:
    """The Mosquitto of this file; None if it does not run."""
    try:
        process = psutil.Process(int(pid_file.read_text(encoding="ascii")))
        return process if process.name() == "mosquitto" else None
    except (OSError, ValueError, psutil.Error):
        return None


def reload_accounts(pid_file: Path, address: tuple[str, int]) -> bool:
    """Whether nothing is left to do: it was told, or does not run and will read the files when it starts.

    Before it listens SIGHUP would end it.
    """
    process = mosquitto_process(pid_file)
    if process is None:
        return True
    if not is_open(address, _PROBE_S):
        return False
    try:
        process.send_signal(signal.SIGHUP)
    except psutil.NoSuchProcess:
        return True
    return True
