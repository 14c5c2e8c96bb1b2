"""Registers sockets that operators' tools play (simulation, replay, benchmark), and keeps their tokens.

The tokens stand in a file of the data dir that only its owner may read: whoever starts such a tool again goes on as
the same sockets.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from eventsourcing.persistence import RecordConflictError

from domain.device_ids import parse_device_id
from domain.errors import Missing, RuleBroken, SettingInvalid
from domain.lifecycle.cause import Cause, system_cause
from domain.lifecycle.devices import Device
from domain.lifecycle.entity import id_of
from domain.lifecycle.sockets import NewDevice
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.tokens import new_token, token_sha256
from ops.application import Application, open_application
from ops.logged_events import logged_events
from ops.settings import Settings

DEMO_TENANT = "Demo"
TOKENS_FILE = "socket-tokens"
_AT_ONCE = 200
_TOPICS = (Device.Registered.TOPIC, Device.TokenRotated.TOPIC, Device.Decommissioned.TOPIC)


def demo_tenant_id(name: str = DEMO_TENANT) -> str:
    """The tenant of this name that operators' tools register sockets in: everywhere the same, so there is one."""
    return str(id_of("tenant", name))


class Registration:
    """Registers sockets in one tenant as they are asked for. Blocking.

    Args:
        tenant: its name; it is founded, without an owner, if there is none.
        role: who registers, for the audit log.
    """

    def __init__(self, application: Application, tokens_path: Path, *, tenant: str, role: str) -> None:
        self._application, self._path, self._tenant, self._role = application, tokens_path, tenant, role
        self._known: dict[str, str | None] = {}
        """What each registered device's token hashes to; None for one that was taken out of use."""
        self._position = 0

    def tokens(self, device_ids: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The tokens by device id, and why there is none for the others; whoever is not registered is now.

        Raises:
            InvalidDeviceId: one of them is no device id.
        """
        wanted = [parse_device_id(device_id) for device_id in dict.fromkeys(device_ids)]
        refused = {}
        with _taking_turns(self._path):
            self._catch_up()
            kept = _read_tokens(self._path)
            for device_id in wanted:
                if why := self._why_not(device_id, kept.get(device_id)):
                    refused[device_id] = why
            new = [device_id for device_id in wanted if device_id not in self._known]
            if new:
                self._register(new, kept)
        return {one: kept[one] for one in wanted if one not in refused}, refused

    def token(self, device_id: str) -> str:
        """The token of one device.

        Raises:
            SettingInvalid: there is none; says why.
        """
        tokens, refused = self.tokens([device_id])
        if refused:
            raise SettingInvalid(f"device {device_id!r} {refused[device_id]}")
        return tokens[device_id]

    def _catch_up(self) -> None:
        recorder = self._application.lifecycle.log_recorder
        for position, event in logged_events(recorder, _TOPICS, self._position):
            self._known[event.device_id] = getattr(event, "token_sha256", None)
            self._position = position

    def _why_not(self, device_id: str, token: str | None) -> str | None:
        """Why a registered device cannot be played."""
        if device_id not in self._known:
            return None
        digest = self._known[device_id]
        if digest is None:
            return "was taken out of use; register it again, or choose other device ids"
        if token is None:
            return f"is registered, and its token is not in {self._path}; choose other device ids"
        if token_sha256(token) != digest:
            return f"has another token than in {self._path}: it was rotated; choose other device ids"
        return None

    def _register(self, device_ids: Sequence[str], kept: dict[str, str]) -> None:
        # Kept before it counts: a token that is lost cannot be had again.
        fresh = {device_id: new_token() for device_id in device_ids if device_id not in kept}
        _append_tokens(self._path, fresh)
        kept.update(fresh)
        tenant_id = self._found()
        for start in range(0, len(device_ids), _AT_ONCE):
            some = device_ids[start : start + _AT_ONCE]
            new = [NewDevice(device_id, device_id, token=kept[device_id]) for device_id in some]
            try:
                self._application.sockets.register(tenant_id, new, self._cause())
            except (Missing, RuleBroken, RecordConflictError) as error:
                raise SettingInvalid(f"sockets cannot be registered: {error}") from error
            self._known.update({device_id: token_sha256(kept[device_id]) for device_id in some})

    def _found(self) -> str:
        tenant_id = demo_tenant_id(self._tenant)
        aggregate_id = id_of("tenant", self._tenant)
        if self._application.lifecycle.find(Tenant, aggregate_id) is None:
            # Otherwise another tool has just done so.
            with suppress(RecordConflictError):
                self._application.tenancy.found(self._cause(), name=self._tenant, owner_id=None, tenant_id=aggregate_id)
        return tenant_id

    def _cause(self) -> Cause:
        return system_cause(self._role, datetime.now(UTC))


@contextmanager
def registration(settings: Settings, *, tenant: str = DEMO_TENANT, role: str = "simulator") -> Iterator[Registration]:
    """Registers sockets in the settings' event store until the end of the block.

    Raises:
        SettingInvalid: `wattaway migrate` has to be run first, or the data dir cannot be written.
        DependencyUnavailable: the event store is out of reach.
    """
    with open_application(settings) as application:
        yield Registration(application, settings.data_dir / TOKENS_FILE, tenant=tenant, role=role)


# --- the file of tokens ---------------------------------------------------------------------------------


@contextmanager
def _taking_turns(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingInvalid(f"WATTAWAY_DATA_DIR: cannot keep tokens in {path}: {error.strerror}") from error
    with os.fdopen(descriptor) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_tokens(path: Path) -> dict[str, str]:
    """By device id; a line that a crash has cut is no token yet."""
    lines = path.read_text(encoding="ascii").split("\n")[:-1]
    return dict(pair for line in lines if len(pair := line.split(" ")) == 2)


def _append_tokens(path: Path, tokens: dict[str, str]) -> None:
    # A line of its own even after one that was cut.
    text = "\n" + "".join(f"{device_id} {token}\n" for device_id, token in tokens.items())
    with path.open("a", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
