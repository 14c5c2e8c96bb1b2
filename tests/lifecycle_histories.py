"""Random histories of people, sockets and commands, decided by the real aggregates, and what must come of them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from domain.clock import to_instant, to_ms
from domain.errors import Missing, RuleBroken
from domain.events import Record
from domain.firmware_image import ImageHead
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import Command, Order
from domain.lifecycle.denials import Denial
from domain.lifecycle.devices import Device, DeviceConfiguration
from domain.lifecycle.firmware import FirmwareReleases, Release
from domain.lifecycle.site import Site
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.tokens import TokenHashes
from domain.lifecycle.users import User
from tests.projection_records import T0_MS, decided

SECRET = "SECRET"
Rows = dict[str, list[tuple[Any, ...]]]
_ORDERS = (
    Order("switch", True),
    Order("toggle"),
    Order("restart"),
    Order("configure", config=DeviceConfiguration(interval_ms=5000), config_version=3),
)


class Town:
    """Two of each kind, to which things happen; `log` is what the relay carries, in its order."""

    def __init__(self) -> None:
        self.at_ms = T0_MS
        self.log: list[Record] = []
        self.users = [self._new_user(n) for n in range(2)]
        self.tenants = [self._new_tenant(n) for n in range(2)]
        self.devices = [self._new_device(n) for n in range(2)]
        self.site = Site.claim(str(self.users[0].id), self.cause())
        self.commands: list[Command] = []
        self.denials: list[Denial] = []
        self.boards = [FirmwareReleases.of(f"board-{n}", self.cause()) for n in range(2)]
        self._carry(self.site, *self.boards)

    def cause(self) -> Cause:
        self.at_ms += 100
        return Cause(
            to_instant(self.at_ms), "user:ü" if self.at_ms % 300 == 0 else "user:1", f"c{self.at_ms}", "10.0.0.0"
        )

    def happen(self, what: int, which: int, how: int) -> None:
        """Let one of the things happen that are allowed now; another is let be."""
        things = (
            self._to_user,
            self._to_tenant,
            self._to_device,
            self._to_site,
            self._to_command,
            self._ask,
            self._deny,
            self._to_board,
        )
        with suppress(RuleBroken, Missing):
            things[what % len(things)](which, how)
        self._carry(*self.users, *self.tenants, *self.devices, self.site, *self.commands, *self.denials, *self.boards)

    def _carry(self, *aggregates: Any) -> None:
        self.log += decided(*aggregates)

    def _new_user(self, n: int) -> User:
        sealed = {"email": f"email-{n}", "name": f"name-{n}", "password": SECRET}
        user = User.sign_up(UUID(int=n + 1), self.cause(), **sealed)
        self._carry(user)
        return user

    def _new_tenant(self, n: int) -> Tenant:
        owner = str(self.users[0].id) if n == 0 else None
        tenant = Tenant.found(UUID(int=n + 100), self.cause(), name_sealed=f"tenant-{n}", owner_id=owner)
        self._carry(tenant)
        return tenant

    def _new_device(self, n: int) -> Device:
        hashes = TokenHashes(SECRET, SECRET)
        device = Device.register(
            f"socket-{n}", str(self.tenants[n].id), hashes, self.cause(), name_sealed=f"device-{n}"
        )
        self._carry(device)
        return device

    def _to_user(self, which: int, how: int) -> None:
        user, cause = self.users[which % 2], self.cause()
        later = cause.at + timedelta(days=1)
        things = (
            lambda: user.rename(f"name-{how}", cause),
            lambda: user.change_email(f"email-{how}", cause),
            lambda: user.change_password(f"{SECRET}-{how}", cause),
            lambda: user.issue_api_token(f"t{how}", SECRET, cause, label_sealed="x", scope="read", expires_at=later),
            lambda: user.revoke_api_token(f"t{how}", cause),
            lambda: user.sign_in(cause),
            lambda: user.forget(cause),
        )
        things[how % len(things)]()

    def _to_tenant(self, which: int, how: int) -> None:
        tenant, cause = self.tenants[which % 2], self.cause()
        user_id, later = str(self.users[how % 2].id), cause.at + timedelta(days=1)
        things = (
            lambda: tenant.rename(f"tenant-{how}", cause),
            lambda: tenant.add_member(user_id, "viewer", cause),
            lambda: tenant.change_role(user_id, "owner" if how % 3 else "operator", cause),
            lambda: tenant.remove_member(user_id, cause),
            lambda: tenant.invite("i1", SECRET, cause, role="operator", expires_at=later),
            lambda: tenant.accept("i1", user_id, cause),
            lambda: tenant.revoke_invitation("i1", cause),
            lambda: tenant.dissolve(user_id, cause),
        )
        things[how % len(things)]()

    def _to_device(self, which: int, how: int) -> None:
        device, cause, user_id = self.devices[which % 2], self.cause(), str(self.users[how % 2].id)
        things = (
            lambda: device.describe(f"device-{how}", f"place-{how}" if how % 3 else None, cause),
            lambda: device.configure(DeviceConfiguration(interval_ms=1000 + how), cause),
            lambda: device.rotate_token(TokenHashes(f"{SECRET}{how}", SECRET), cause),
            lambda: device.use_again(TokenHashes(f"{SECRET}{how}", SECRET), cause),
            lambda: device.share(user_id, "view" if how % 3 else "manage", cause),
            lambda: device.unshare(user_id, cause),
            lambda: device.decommission(cause),
        )
        things[how % len(things)]()

    def _to_site(self, which: int, how: int) -> None:
        user_id = str(self.users[which % 2].id)
        (self.site.grant_admin if how % 2 else self.site.revoke_admin)(user_id, self.cause())

    def _ask(self, which: int, how: int) -> None:
        cause = self.cause()
        order, expires_at = _ORDERS[how % len(_ORDERS)], cause.at + timedelta(seconds=5 + how)
        self.commands.append(Command.request(f"socket-{which % 2}", order, cause, why="user", expires_at=expires_at))

    def _to_command(self, which: int, how: int) -> None:
        if not self.commands:
            return
        command = self.commands[which % len(self.commands)]
        if how % 2:
            self.at_ms += how * 300
        cause = self.cause()
        things = (
            lambda: command.advance(cause, online=True),
            lambda: command.advance(cause, online=True),
            lambda: command.acknowledge(cause, relay=how % 3 == 0, reported_at=cause.at if how % 5 else None),
            lambda: command.reject(cause, reason=f"no {how}", reported_at=None),
            lambda: command.fail(cause, reason=f"broken {how}"),
        )
        things[how % len(things)]()

    def _deny(self, which: int, how: int) -> None:
        subject = ("device:socket-1", "tenant:2", "what ü is this", ":")[how % 4]
        self.denials.append(Denial.note("device.switch", subject, "not yours", self.cause()))

    def _to_board(self, which: int, how: int) -> None:
        board, cause = self.boards[which % 2], self.cause()
        if how % 3 == 0:
            board.withdraw(how % 7 + 1, f"reason {how}" if how % 2 else None, cause)
            return
        said = {
            "sha256": f"{how % 20:064x}",
            "signed_by": f"{which % 3:064x}",
            "notes": f"ü {how}" if how % 2 else None,
        }
        board.publish(ImageHead(board.board, f"1.{how % 20}.0", how % 20 + 1), cause, size=1000 + how, **said)

    # --- what must come of it ---------------------------------------------------------------------------

    def rows(self) -> Rows:
        """The tables, by the state of the aggregates."""
        return {
            "users": sorted(_user_row(user) for user in self.users),
            "tenants": sorted(
                (str(one.id), to_ms(one.created_on), one.name_sealed, one.version) for one in self.tenants
            ),
            "tenant_members": sorted((str(one.id), *member) for one in self.tenants for member in one.members.items()),
            "site_admins": sorted((user_id,) for user_id in self.site.admins),
            "registered_devices": sorted((_device_row(one) for one in self.devices), key=str),
            "device_shares": sorted((one.device_id, *share) for one in self.devices for share in one.shares.items()),
            "commands": sorted((_command_row(one) for one in self.commands), key=str),
            "firmware_versions": sorted(_release_row(one) for board in self.boards for one in board.releases.values()),
        }


def _user_row(user: User) -> tuple[Any, ...]:
    return (str(user.id), to_ms(user.created_on), user.name_sealed, user.email_sealed, user.forgotten, user.version)


def _device_row(device: Device) -> tuple[Any, ...]:
    config = msgspec.json.encode(device.config).decode()
    sealed = (device.name_sealed, device.location_sealed)
    version = (device.config_version, config, device.commissioned, device.version)
    return (device.device_id, device.tenant_id, *sealed, *version)


def _command_row(command: Command) -> tuple[Any, ...]:
    order = msgspec.json.encode(command.order).decode()
    sent_at_ms = None if command.dispatched_at is None else to_ms(command.dispatched_at)
    late = (command.reported_late, command.version)
    return (str(command.id), command.device_id, order, command.state, command.attempts, sent_at_ms, *late)


def _release_row(one: Release) -> tuple[Any, ...]:
    said = (one.board, one.sha256, one.version, one.counter, one.size, one.signed_by, one.notes)
    published = (to_ms(one.published_at), one.published_by.replace("ü", "?"))
    if one.withdrawn_at is None:
        return (*said, *published, None, None, None)
    withdrawn_by = (one.withdrawn_by or "").replace("ü", "?")
    return (*said, *published, to_ms(one.withdrawn_at), withdrawn_by, one.withdrawn_reason)
