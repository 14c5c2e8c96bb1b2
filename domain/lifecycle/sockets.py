"""What people do with sockets: register, describe, configure, share, rotate tokens, take out of use, command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import msgspec
from eventsourcing.persistence import RecordConflictError

from domain.device_ids import parse_device_id
from domain.errors import RuleBroken
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import Command, Order, command_id_of
from domain.lifecycle.devices import Device, DeviceConfiguration, Permission, device_aggregate_id
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.personal import Personal, tenant_subject
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.tokens import device_token_hashes, new_token

RESERVED_DEVICE_IDS = frozenset({"bridge", "dispatcher"})
"""Users of the MQTT brokers that are no devices."""
CONFIGURE_EXPIRES_IN = timedelta(minutes=5)


@dataclass(frozen=True)
class NewDevice:
    """What is said of a device when it is registered; `token` only if it has one already."""

    device_id: str
    name: str
    location: str | None = None
    token: str | None = None


class RegisteredDevice(NamedTuple):
    """A device and its token, in clear for the only time."""

    device_id: str
    token: str


class RequestedCommand(NamedTuple):
    """A command; `is_new` is False if this actor asked for it before under the same idempotency key."""

    command_id: str
    is_new: bool


class Sockets:
    """Blocking. Who may do it is checked before, by the policy."""

    def __init__(self, lifecycle: Lifecycle, personal: Personal) -> None:
        self._lifecycle, self._personal = lifecycle, personal

    def register(
        self, tenant_id: str, devices: Sequence[NewDevice], cause: Cause
    ) -> tuple[list[RegisteredDevice], int]:
        """Register all of them or none, each with a new token; one that this tenant took out of use is used again.

        Raises:
            InvalidDeviceId: one of them is no device id.
            RuleBroken: one of them is registered, or reserved.
            Missing: the tenant was dissolved.
        """
        tokens = [new.token or new_token() for new in devices]

        def register() -> int:
            # If somebody registers one of them meanwhile, the next look says which.
            as_of = self._lifecycle.as_of_now(Tenant.Dissolved)
            self._lifecycle.load(Tenant, UUID(tenant_id)).check_in_being()
            aggregates = [self._new(tenant_id, new, token, cause) for new, token in zip(devices, tokens, strict=True)]
            return self._lifecycle.store(*aggregates, as_of=as_of)

        newest = self._lifecycle.retry(register)
        return [RegisteredDevice(new.device_id, token) for new, token in zip(devices, tokens, strict=True)], newest

    def _new(self, tenant_id: str, new: NewDevice, token: str, cause: Cause) -> Device:
        device_id = parse_device_id(new.device_id)
        if device_id in RESERVED_DEVICE_IDS:
            raise RuleBroken("device-id-reserved", f"{device_id!r} is a user of the MQTT broker; choose another id")
        name, location = self._seal(tenant_id, new.name, new.location)
        known = self._lifecycle.find(Device, device_aggregate_id(device_id))
        if known is None:
            device = Device.register(device_id, tenant_id, device_token_hashes(token), cause, name_sealed=name)
        elif known.commissioned or known.tenant_id != tenant_id:
            raise RuleBroken("device-id-taken", f"registered already, here or by another tenant: {device_id}")
        else:
            device = known
            device.use_again(device_token_hashes(token), cause)
        if location is not None or known is not None:
            device.describe(name, location, cause)
        return device

    def describe(self, device_id: str, tenant_id: str, cause: Cause, *, name: str, location: str | None) -> int:
        name_sealed, location_sealed = self._seal(tenant_id, name, location)
        return self._change(device_id, lambda device: device.describe(name_sealed, location_sealed, cause))

    def rotate_token(self, device_id: str, cause: Cause) -> tuple[str, int]:
        """A new token; the old one counts no more, and its live session ends.

        Raises:
            RuleBroken: the device is out of use; registered again, it gets a token, too.
        """
        token = new_token()
        return token, self._change(device_id, lambda device: device.rotate_token(device_token_hashes(token), cause))

    def share(self, device_id: str, user_id: str, permission: Permission, cause: Cause) -> int:
        return self._change(device_id, lambda device: device.share(user_id, permission, cause))

    def unshare(self, device_id: str, user_id: str, cause: Cause) -> int:
        return self._change(device_id, lambda device: device.unshare(user_id, cause))

    def decommission(self, device_id: str, cause: Cause) -> int:
        return self._change(device_id, lambda device: device.decommission(cause))

    # --- commands ---------------------------------------------------------------------------------------

    def request(
        self,
        device_id: str,
        order: Order,
        cause: Cause,
        *,
        expires_in: timedelta = timedelta(seconds=30),
        idempotency_key: str | None = None,
    ) -> RequestedCommand:
        """Ask for a command.

        Raises:
            RuleBroken: the device is out of use, the order is not complete, or the key stood for another order.
        """
        key = uuid4() if idempotency_key is None else command_id_of(device_id, cause.actor, idempotency_key)
        if idempotency_key is not None and (known := self._known(key, order, expires_in)) is not None:
            return known
        device = self._lifecycle.load(Device, device_aggregate_id(device_id))
        if not device.commissioned:
            raise RuleBroken("decommissioned", f"device {device_id!r} was taken out of use")
        expires_at = cause.at + expires_in
        command = Command.request(device_id, order, cause, why="user", expires_at=expires_at, command_id=key)
        try:
            self._lifecycle.store(command)
        except RecordConflictError:
            known = self._known(key, order, expires_in)
            if known is None:
                raise
            return known
        return RequestedCommand(str(key), True)

    def configure(
        self, device_id: str, config: DeviceConfiguration, cause: Cause
    ) -> tuple[int, RequestedCommand | None]:
        """The desired configuration's version, and the command that takes it to the socket (None: nothing changed)."""

        def configure() -> tuple[int, RequestedCommand | None]:
            device = self._lifecycle.load(Device, device_aggregate_id(device_id))
            before = device.config_version
            version = device.configure(config, cause)
            if version == before:
                return version, None
            expires_at = cause.at + CONFIGURE_EXPIRES_IN
            command = Command.request(device_id, _configure(config, version), cause, why="user", expires_at=expires_at)
            self._lifecycle.store(device, command)
            return version, RequestedCommand(str(command.id), True)

        return self._lifecycle.retry(configure)

    def request_configuration(
        self,
        device_id: str,
        config: DeviceConfiguration,
        cause: Cause,
        *,
        expires_in: timedelta,
        idempotency_key: str | None = None,
    ) -> RequestedCommand:
        """Make it the desired configuration and take it to the socket, even if it was the desired one already.

        Raises:
            RuleBroken: the device is out of use, or the key stood for another command.
        """
        key = uuid4() if idempotency_key is None else command_id_of(device_id, cause.actor, idempotency_key)

        def request() -> RequestedCommand:
            if idempotency_key is not None and (known := self._lifecycle.find(Command, key)) is not None:
                # The version is the engine's; what was asked for is the configuration.
                order = _configure(config, known.order.get("config_version", 0))
                return _repeated(known, order, expires_in)
            device = self._lifecycle.load(Device, device_aggregate_id(device_id))
            order = _configure(config, device.configure(config, cause))
            expires_at = cause.at + expires_in
            command = Command.request(device_id, order, cause, why="user", expires_at=expires_at, command_id=key)
            self._lifecycle.store(device, command)
            return RequestedCommand(str(key), True)

        return self._lifecycle.retry(request)

    def _known(self, command_id: UUID, order: Order, expires_in: timedelta) -> RequestedCommand | None:
        command = self._lifecycle.find(Command, command_id)
        return None if command is None else _repeated(command, order, expires_in)

    def _seal(self, tenant_id: str, name: str, location: str | None) -> tuple[str, str | None]:
        subject = tenant_subject(tenant_id)
        place = None if location is None else self._personal.seal(subject, "device-location", location)
        return self._personal.seal(subject, "device-name", name), place

    def _change(self, device_id: str, decide: Callable[[Device], None]) -> int:
        return self._lifecycle.change(Device, device_aggregate_id(device_id), decide)[1]


def _configure(config: DeviceConfiguration, version: int) -> Order:
    return Order("configure", config=config, config_version=version)


def _repeated(command: Command, order: Order, expires_in: timedelta) -> RequestedCommand:
    """The command that stands under an idempotency key, if the same is asked for again."""
    if command.order != msgspec.to_builtins(order) or command.expires_at - command.created_on != expires_in:
        raise RuleBroken("idempotency-key-reused", "this idempotency key stood for another command")
    return RequestedCommand(str(command.id), False)
