"""Sockets, shares, configurations and commands: what is sent, and the answers as OpenAPI describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

import msgspec
from pydantic import Field, field_validator, model_validator

from api.inputs import Email, Input, Name
from api.schemas import Answer
from domain.device_ids import DEVICE_ID_PATTERN
from domain.lifecycle.commands import CommandType, State, Why
from domain.lifecycle.commands import Reference as DomainReference
from domain.lifecycle.devices import DeviceConfiguration, Permission
from domain.wire import MAX_CURRENT_MA, MAX_POWER_MW, MAX_VOLTAGE_MV

_ZONES = frozenset(available_timezones())
DEFAULT_EXPIRES_IN_S, LONGEST_EXPIRES_IN_S = 30, 86_400


class NewDevice(Input):
    """A socket to be registered."""

    device_id: Annotated[str, Field(pattern=DEVICE_ID_PATTERN, examples=["kitchen-kettle"])]
    name: Name
    location: Name | None = None


class RegisteredDevice(Answer):
    """A socket's token, shown this once: its MQTT password, and its Bearer token over HTTP."""

    device_id: str
    token: str = Field(pattern="^[0-9a-f]{64}$")


class DeviceDescription(Input):
    """What is absent stays as it is; a location of null is taken away."""

    name: Name | None = None
    location: Name | None = None


class DescribedDevice(Answer):
    """What a socket is called and where it is."""

    device_id: str
    tenant_id: str
    name: str | None
    location: str | None


class Configuration(Input):
    """How a socket shall behave; what is absent is the socket's own default. Limits trip the relay."""

    interval_ms: Annotated[int, Field(ge=1_000, le=3_600_000, description="Between two readings.")] | None = None
    max_power_mw: Annotated[int, Field(ge=1_000, le=MAX_POWER_MW)] | None = None
    max_current_ma: Annotated[int, Field(ge=10, le=MAX_CURRENT_MA)] | None = None
    min_voltage_mv: Annotated[int, Field(ge=0, le=MAX_VOLTAGE_MV)] | None = None
    max_voltage_mv: Annotated[int, Field(ge=0, le=MAX_VOLTAGE_MV)] | None = None
    max_temperature_mc: Annotated[int, Field(ge=30_000, le=120_000)] | None = None
    power_on: Literal["off", "on", "last", "outage-aware"] | None = Field(
        None,
        description="The relay after the power came back; `outage-aware`: as it was, but off if outages go on.",
    )
    time_zone: Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])] | None = None

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        if name is not None and name not in _ZONES:
            raise ValueError("this is not an IANA time zone")
        return name

    @model_validator(mode="after")
    def _voltages_in_order(self) -> Self:
        low, high = self.min_voltage_mv, self.max_voltage_mv
        if low is not None and high is not None and low >= high:
            raise ValueError(f"`min_voltage_mv` ({low}) is not below `max_voltage_mv` ({high})")
        return self

    def to_domain(self) -> DeviceConfiguration:
        return msgspec.convert(self.model_dump(exclude_none=True), DeviceConfiguration)


class ConfigurationState(Answer):
    """What is wished and what the socket says it has."""

    device_id: str
    desired: dict[str, Any] = Field(description="Members as in the PUT; absent ones are the socket's own defaults.")
    version: int = Field(description="Of the desired one; 0: never configured.")
    reported_version: int | None = Field(description="What the socket said last.")
    confirmed: bool = Field(description="The socket has the desired one.")
    command_url: str | None = Field(None, description="After a PUT that changed it: the command that carries it.")


class NewShare(Input):
    """Whom to share a socket with."""

    email: Email
    permission: Permission


class SharePermission(Input):
    """The permission from now on."""

    permission: Permission


class Share(Answer):
    """Somebody else who may see a socket, or more."""

    user_id: str
    name: str | None
    permission: Permission


class ShareAsked(Answer):
    """If somebody signs in with this email, the socket is shared with them; nobody is told whether."""

    email: str
    permission: Permission


# --- commands ---------------------------------------------------------------------------------------------


class _NewCommand(Input):
    expires_in_s: Annotated[int, Field(ge=1, le=LONGEST_EXPIRES_IN_S)] = DEFAULT_EXPIRES_IN_S


class SwitchCommand(_NewCommand):
    """Switch on (`relay` true) or off."""

    type: Literal["switch"]
    relay: bool


class ToggleCommand(_NewCommand):
    """Switch over."""

    type: Literal["toggle"]


class RestartCommand(_NewCommand):
    """Restart the socket."""

    type: Literal["restart"]


class IdentifyCommand(_NewCommand):
    """Blink."""

    type: Literal["identify"]


class ConfigureCommand(_NewCommand):
    """Take over a configuration, which becomes the desired one."""

    type: Literal["configure"]
    config: Configuration


class Reference(Input):
    """What a trusted meter shows of the load that runs now; at least one value."""

    power_mw: Annotated[int, Field(ge=10_000, le=MAX_POWER_MW)] | None = None
    current_ma: Annotated[int, Field(ge=100, le=MAX_CURRENT_MA)] | None = None
    voltage_mv: Annotated[int, Field(ge=80_000, le=MAX_VOLTAGE_MV)] | None = None

    @model_validator(mode="after")
    def _something_known(self) -> Self:
        if self.power_mw is None and self.current_ma is None and self.voltage_mv is None:
            raise ValueError("name at least one of `power_mw`, `current_ma` and `voltage_mv`")
        return self

    def to_domain(self) -> DomainReference:
        return msgspec.convert(self.model_dump(exclude_none=True), DomainReference)


class CalibrateCommand(_NewCommand):
    """Make the socket's meter agree with a trusted one: it measures a steady load by other gains from then on."""

    type: Literal["calibrate"]
    reference: Reference


NewCommand = Annotated[
    SwitchCommand | ToggleCommand | RestartCommand | IdentifyCommand | ConfigureCommand | CalibrateCommand,
    Field(discriminator="type"),
]


class AcceptedCommand(Answer):
    """A command that was taken; how it ends is at `url`."""

    command_id: str
    device_id: str
    type: CommandType
    requested_at: datetime
    expires_at: datetime
    url: str


class Command(Answer):
    """A command, who asked for it and why, and how it went."""

    command_id: str
    device_id: str
    type: CommandType
    order: dict[str, Any] = Field(description="What the socket is told.", examples=[{"type": "switch", "relay": True}])
    state: State
    why: Why
    actor: str = Field(examples=["user:0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11"])
    who: str | None = Field(description="The name of the user behind it; null if it was none, or was forgotten.")
    correlation_id: str
    requested_at: datetime
    expires_at: datetime
    attempts: int
    dispatched_at: datetime | None = Field(description="First.")
    ended_at: datetime | None
    latency_ms: int | None = Field(description="From the request to the socket's answer.")
    reason: str | None = Field(description="Why it was rejected, or failed.")
    late_result: str | None = Field(description="What the socket said after the command had ended without it.")


class RelayChange(Answer):
    """Something that moved a relay: a command that the socket obeyed, or what it reported by itself."""

    source: Literal["command", "socket"]
    at: datetime = Field(description="When the engine heard of it.")
    command_id: str | None
    type: CommandType | None
    relay: bool | None = Field(description="Afterwards, as the socket said.")
    why: Why | None
    actor: str | None
    who: str | None = Field(description="The name of the user behind it.")
    correlation_id: str | None
    report: dict[str, Any] | None = Field(description="What the socket reported, such as a trip and its cause.")


class WhySwitched(Answer):
    """What last moved the relay, newest first."""

    device_id: str
    items: list[RelayChange]
