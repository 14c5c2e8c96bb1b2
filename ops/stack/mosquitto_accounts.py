"""Mosquitto's password and ACL files: who may connect, and which topics are theirs."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from domain.lifecycle.tokens import broker_hash, matches_broker_hash
from ops.service_users import DEVICE_READS, DEVICE_WRITES, ServiceUser
from ops.stack.private_files import write_private

# %u is the user, that is the device id: one rule for all of them.
_DEVICE_RULES = [
    *(f"pattern write devices/%u/{name}" for name in DEVICE_WRITES),
    *(f"pattern read devices/%u/{name}" for name in DEVICE_READS),
]

log = structlog.get_logger()


class MosquittoAccounts:
    """The two files. A change reads them, rewrites them whole, and the broker reads them again on SIGHUP.

    Several processes may change them: they take turns.
    """

    def __init__(self, password_path: Path, acl_path: Path) -> None:
        self.password_path, self.acl_path = password_path, acl_path
        self._hashes: dict[str, str] = {}
        self._rules: dict[str, list[str]] = {}
        """By service user."""

    @property
    def device_ids(self) -> set[str]:
        """Who is let in, service users aside."""
        with self._turn():
            return self._hashes.keys() - self._rules.keys()

    def admit_services(self, services: Iterable[ServiceUser]) -> bool:
        """Let our own roles in; whether that changed anything."""
        with self._turn():
            before = self._texts()
            for service in services:
                if not matches_broker_hash(service.password, self._hashes.get(service.name, "")):
                    self._hashes[service.name] = broker_hash(service.password)
                self._rules[service.name] = _rules_of(service)
            return self._write_unless(before)

    def dismiss_services(self, names: Iterable[str]) -> bool:
        """Let these roles in no more; whether that changed anything."""
        with self._turn():
            before = self._texts()
            for name in names:
                self._hashes.pop(name, None)
                self._rules.pop(name, None)
            return self._write_unless(before)

    def keep_devices(self, hashes: Mapping[str, str]) -> bool:
        """Let in exactly these devices, beside our own roles; whether that changed anything.

        A device whose id is the name of one of our roles stays out: its rights would be the role's.
        """
        with self._turn():
            before = self._texts()
            for device_id in hashes.keys() & self._rules.keys():
                log.error("a device is called like a role and stays out", device_id=device_id)
            services = {name: self._hashes[name] for name in self._rules if name in self._hashes}
            self._hashes = {**hashes, **services}
            return self._write_unless(before)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self.password_path.parent.mkdir(parents=True, exist_ok=True)
        with self.password_path.with_name(f".{self.password_path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._load()
            yield

    def _load(self) -> None:
        self._hashes = dict(line.split(":", 1) for line in _lines(self.password_path) if ":" in line)
        self._rules = {}
        for line in _lines(self.acl_path):
            if line.startswith("user "):
                rules = self._rules.setdefault(line.removeprefix("user "), [])
            elif line.startswith("topic ") and self._rules:
                rules.append(line)

    def _texts(self) -> tuple[str, str]:
        users = (line for name in sorted(self._rules) for line in ("", f"user {name}", *self._rules[name]))
        return "".join(f"{name}:{value}\n" for name, value in self._hashes.items()), "".join(
            f"{line}\n" for line in (*_DEVICE_RULES, *users)
        )

    def _write_unless(self, before: tuple[str, str]) -> bool:
        after = self._texts()
        if after == before and self.password_path.exists() and self.acl_path.exists():
            return False
        write_private(self.password_path, after[0])
        write_private(self.acl_path, after[1])
        return True


def _rules_of(service: ServiceUser) -> list[str]:
    return [*(f"topic read {one}" for one in service.reads), *(f"topic write {one}" for one in service.writes)]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
