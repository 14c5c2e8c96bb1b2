"""Mosquitto's password and ACL files: who may connect, and which topics are theirs."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from domain.device_ids import parse_device_id
from domain.errors import SettingInvalid
from ops.stack.private_files import write_private

# Hashes slow down guessing a password somebody made up. A token is 256 random bits: nobody guesses it, and
# ten thousand devices that reconnect at once pay for each round. Hence the fewest rounds Mosquitto takes.
_ROUNDS = 1
_SALT_BYTES = 12
_HASH_BYTES = 64

# %u is the user, that is the device id: one rule for all of them. A rule without `read` or `write` allows both.
_DEVICE_RULES = """pattern write devices/%u/data
pattern write devices/%u/status
pattern read devices/%u/commands
pattern read devices/%u/receipts
"""
_BRIDGE_RULES = """
user {name}
topic read devices/+/data
topic read devices/+/status
topic write devices/+/commands
topic write devices/+/receipts
"""


class MosquittoAccounts:
    """The two files. Every change reads them, rewrites them whole, and the broker reads them again on SIGHUP."""

    def __init__(self, directory: Path) -> None:
        self.password_path = directory / "mosquitto.passwords"
        self.acl_path = directory / "mosquitto.acl"
        self._hashes: dict[str, str] = {}
        self._bridges: set[str] = set()

    @property
    def device_count(self) -> int:
        self._load()
        return len(self._hashes) - len(self._bridges)

    def _load(self) -> None:
        if self.password_path.exists():
            lines = self.password_path.read_text(encoding="utf-8").splitlines()
            self._hashes = dict(line.split(":", 1) for line in lines)
        if self.acl_path.exists():
            lines = self.acl_path.read_text(encoding="utf-8").splitlines()
            self._bridges = {line.removeprefix("user ") for line in lines if line.startswith("user ")}

    def admit_bridge(self, name: str, password: str) -> None:
        """Let a bridge in: it reads all devices' data and status, and writes their commands and receipts."""
        self._load()
        self._bridges.add(name)
        self._hashes[name] = password_hash(password)
        self._write()

    def admit_devices(self, tokens: Mapping[str, str]) -> None:
        """Let devices in, by device id and token.

        Raises:
            InvalidDeviceId: not a device id.
            SettingInvalid: a device id that is a bridge's name; its rights would be a bridge's.
        """
        self._load()
        for device_id in tokens:
            if parse_device_id(device_id) in self._bridges:
                raise SettingInvalid(f"{device_id!r} is a bridge's MQTT user: a device must not be called so")
        self._hashes.update({device_id: password_hash(token) for device_id, token in tokens.items()})
        self._write()

    def dismiss(self, names: Iterable[str]) -> None:
        """Let these devices or bridges in no more."""
        self._load()
        for name in names:
            self._hashes.pop(name, None)
            self._bridges.discard(name)
        self._write()

    def _write(self) -> None:
        write_private(self.password_path, "".join(f"{name}:{value}\n" for name, value in self._hashes.items()))
        rules = "".join(_BRIDGE_RULES.format(name=name) for name in sorted(self._bridges))
        write_private(self.acl_path, _DEVICE_RULES + rules)


def password_hash(password: str) -> str:
    """A password as Mosquitto 2 keeps it: `$7$rounds$salt$hash`.

    Source: mosquitto_passwd(1); PBKDF2 with SHA-512, base64.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS, _HASH_BYTES)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"
