"""A registered socket: whose it is, what it is called, how it shall behave, and the token it shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import Missing, RuleBroken
from domain.lifecycle.cause import Cause
from domain.lifecycle.entity import Entity, FirstEvent, LifecycleEvent, id_of
from domain.lifecycle.tokens import TokenHashes
from domain.wire import MAX_CURRENT_MA, MAX_POWER_MW, MAX_VOLTAGE_MV

Permission = Literal["view", "switch", "manage"]


class DeviceConfiguration(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a socket shall behave; what is absent is the socket's own default. Limits trip the relay.

    Source: docs/protocol.md, "Command".
    """

    interval_ms: Annotated[int, Meta(ge=1_000, le=3_600_000, description="between two readings")] | None = None
    max_power_mw: Annotated[int, Meta(ge=1_000, le=MAX_POWER_MW)] | None = None
    max_current_ma: Annotated[int, Meta(ge=10, le=MAX_CURRENT_MA)] | None = None
    min_voltage_mv: Annotated[int, Meta(ge=0, le=MAX_VOLTAGE_MV)] | None = None
    max_voltage_mv: Annotated[int, Meta(ge=0, le=MAX_VOLTAGE_MV)] | None = None
    max_temperature_mc: Annotated[int, Meta(ge=30_000, le=120_000)] | None = None
    power_on: Literal["off", "on", "last", "outage-aware"] | None = None
    time_zone: Annotated[str, Meta(max_length=64, description="IANA name")] | None = None


def device_aggregate_id(device_id: str) -> UUID:
    """The aggregate of a device id: nobody can register the same one twice."""
    return id_of("device", device_id)


class Device(Entity):
    """A socket. Name and location are sealed with the tenant's key."""

    TOPIC = "wattaway.device"

    class Event(LifecycleEvent):
        """Of a device."""

        device_id: str

    class Registered(Event, FirstEvent):
        TOPIC = "wattaway.device-registered.v1"
        tenant_id: str
        name_sealed: str
        token_sha256: str
        broker_hash: str

    class Described(Event):
        TOPIC = "wattaway.device-described.v1"
        name_sealed: str
        location_sealed: str | None

        def apply(self, aggregate: Any) -> None:
            aggregate.name_sealed, aggregate.location_sealed = self.name_sealed, self.location_sealed

    class Configured(Event):
        TOPIC = "wattaway.device-configured.v1"
        config_version: int
        config: DeviceConfiguration

        def apply(self, aggregate: Any) -> None:
            aggregate.config_version = self.config_version
            aggregate.config = msgspec.to_builtins(self.config)

    class TokenRotated(Event):
        """Also how a device that was taken out of use is used again."""

        TOPIC = "wattaway.device-token-rotated.v1"
        token_sha256: str
        broker_hash: str

        def apply(self, aggregate: Any) -> None:
            aggregate.commissioned = True

    class Shared(Event):
        TOPIC = "wattaway.device-shared.v1"
        user_id: str
        permission: Permission

        def apply(self, aggregate: Any) -> None:
            aggregate.shares[self.user_id] = self.permission

    class Unshared(Event):
        TOPIC = "wattaway.device-unshared.v1"
        user_id: str

        def apply(self, aggregate: Any) -> None:
            del aggregate.shares[self.user_id]

    class Decommissioned(Event):
        TOPIC = "wattaway.device-decommissioned.v1"

        def apply(self, aggregate: Any) -> None:
            aggregate.commissioned = False
            aggregate.shares = {}

    def __init__(self, device_id: str, tenant_id: str, name_sealed: str, token_sha256: str, broker_hash: str) -> None:
        del token_sha256, broker_hash  # the event keeps them for the brokers; nothing is decided by them
        self.device_id, self.tenant_id = device_id, tenant_id
        self.name_sealed = name_sealed
        self.location_sealed: str | None = None
        self.config_version = 0
        self.config: dict[str, Any] = {}
        self.shares: dict[str, Permission] = {}
        self.commissioned = True

    @classmethod
    def register(cls, device_id: str, tenant_id: str, hashes: TokenHashes, cause: Cause, *, name_sealed: str) -> Device:
        """A new device of a tenant."""
        fields = {"device_id": device_id, "tenant_id": tenant_id, "name_sealed": name_sealed, **hashes._asdict()}
        return cls.begin(cls.Registered, cause, device_aggregate_id(device_id), **fields)

    def describe(self, name_sealed: str, location_sealed: str | None, cause: Cause) -> None:
        self._check_commissioned()
        self._decide(self.Described, cause, name_sealed=name_sealed, location_sealed=location_sealed)

    def configure(self, config: DeviceConfiguration, cause: Cause) -> int:
        """The desired configuration's new version; the same one again changes nothing."""
        self._check_commissioned()
        if self.config_version == 0 or msgspec.to_builtins(config) != self.config:
            before = {"config": self.config, "config_version": self.config_version}
            version = self.config_version + 1
            self._decide(self.Configured, cause, config_version=version, config=config, before=before)
        return self.config_version

    def rotate_token(self, hashes: TokenHashes, cause: Cause) -> None:
        """From now on another token counts."""
        self._check_commissioned()
        self._decide(self.TokenRotated, cause, **hashes._asdict())

    def use_again(self, hashes: TokenHashes, cause: Cause) -> None:
        """A device that was taken out of use is registered again, with another token."""
        if self.commissioned:
            raise RuleBroken("device-id-taken", f"device {self.device_id!r} is in use")
        self._decide(self.TokenRotated, cause, **hashes._asdict())

    def share(self, user_id: str, permission: Permission, cause: Cause) -> None:
        self._check_commissioned()
        before = {"permission": self.shares[user_id]} if user_id in self.shares else {}
        self._decide(self.Shared, cause, user_id=user_id, permission=permission, before=before)

    def unshare(self, user_id: str, cause: Cause) -> None:
        if user_id not in self.shares:
            raise Missing("unknown-share", "this device is not shared with that user")
        self._decide(self.Unshared, cause, user_id=user_id, before={"permission": self.shares[user_id]})

    def decommission(self, cause: Cause) -> None:
        """Its token no longer counts, its shares end; its history stays."""
        self._check_commissioned()
        self._decide(self.Decommissioned, cause)

    def _decide(self, event_class: Any, cause: Cause, **fields: Any) -> None:
        self.decide(event_class, cause, device_id=self.device_id, **fields)

    def _check_commissioned(self) -> None:
        if not self.commissioned:
            raise RuleBroken("decommissioned", f"device {self.device_id!r} was taken out of use")
