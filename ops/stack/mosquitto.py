"""Mosquitto 2 as a child process: everybody has a password, and devices reach their own topics only."""

from __future__ import annotations

import os
import time
from pathlib import Path

from domain.errors import DependencyUnavailable
from ops.child import ChildSpec
from ops.credentials import stored_secret
from ops.embedded.ports import LOOPBACK, is_open
from ops.service_users import bridge_user, dispatcher_user
from ops.stack.mosquitto_accounts import MosquittoAccounts
from ops.stack.mosquitto_signal import mosquitto_process, reload_accounts
from ops.stack.packages import find_program
from ops.stack.private_files import write_private

BRIDGE_USER, DISPATCHER_USER = "bridge", "dispatcher"
_READY_TIMEOUT_S = 30
_RELOAD_TIMEOUT_S = 10
PASSWORDS, ACL, PID_FILE = "mosquitto.passwords", "mosquitto.acl", "mosquitto.broker-pid"
_RELOADED = b"Reloading config."
# use_username_as_clientid: nobody takes over another's session. max_queued_messages 0: no limit, a backlog must
# not be dropped. autosave_interval bounds what a crash of the broker forgets; receipts make devices send it again.
_OPTIONS = """listener {port} {host}
allow_anonymous false
password_file {directory}/{passwords}
acl_file {directory}/{acl}
pid_file {directory}/{pid_file}
use_username_as_clientid true
persistence true
persistence_location {directory}/
autosave_interval 30
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 1000
message_size_limit 1048576
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
connection_messages false
"""


class MosquittoServer:
    """One Mosquitto on loopback."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory, self._port = directory, port
        self._accounts = MosquittoAccounts(directory / PASSWORDS, directory / ACL)
        self.spec = ChildSpec(
            name="mosquitto",
            argv=[find_program("mosquitto"), "-c", str(directory / "mosquitto.conf")],
            log_path=directory / "mosquitto.log",
            is_ready=lambda: is_open((LOOPBACK, port)),
            prepare=self._prepare,
            ready_within_s=_READY_TIMEOUT_S,
        )

    @property
    def settings(self) -> dict[str, str]:
        """What `wattaway run broker-accounts` must know."""
        return {
            "WATTAWAY_MOSQUITTO_PASSWORDS": str(self._directory / PASSWORDS),
            "WATTAWAY_MOSQUITTO_ACL": str(self._directory / ACL),
            "WATTAWAY_MOSQUITTO_PID_FILE": str(self._directory / PID_FILE),
        }

    @property
    def bridge_password(self) -> str:
        return stored_secret(self._directory / "bridge.secret")

    @property
    def dispatcher_password(self) -> str:
        return stored_secret(self._directory / "dispatcher.secret")

    def admit_bridge(self, name: str, password: str) -> None:
        """Let one more bridge in; once this returns it may connect."""
        self._accounts.admit_services([bridge_user(name, password)])
        self._reload()

    def dismiss_bridge(self, name: str) -> None:
        """Let it in no more; the broker drops its connection."""
        self._accounts.dismiss_services([name])
        self._reload()

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._accounts.admit_services(
            [
                bridge_user(BRIDGE_USER, self.bridge_password),
                dispatcher_user(DISPATCHER_USER, self.dispatcher_password),
            ]
        )
        options = mosquitto_options(self._directory, self._port)
        # Started as root it would drop to an account that cannot read the private files.
        write_private(self._directory / "mosquitto.conf", options + ("user root\n" if os.geteuid() == 0 else ""))

    def _reload(self) -> None:
        """Have the broker, if it runs, read the files; it says so in its log before it takes the next connection."""
        if mosquitto_process(self._directory / PID_FILE) is None:
            return
        known = self._reloads()
        reload_accounts(self._directory / PID_FILE, (LOOPBACK, self._port))
        deadline = time.monotonic() + _RELOAD_TIMEOUT_S
        while self._reloads() == known:
            if time.monotonic() > deadline:
                raise DependencyUnavailable("mosquitto", f"did not reload its accounts in {_RELOAD_TIMEOUT_S} s")
            time.sleep(0.02)

    def _reloads(self) -> int:
        return self.spec.log_path.read_bytes().count(_RELOADED)


def mosquitto_options(directory: Path, port: int, host: str = LOOPBACK) -> str:
    """Mosquitto's configuration file."""
    return _OPTIONS.format(directory=directory, port=port, host=host, pid_file=PID_FILE, passwords=PASSWORDS, acl=ACL)
