"""The users of the MQTT brokers that are no devices, and the topics each of them needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from ops.credentials import bridge_password, dispatcher_password
from ops.settings import Settings

DEVICE_READS = ("commands", "receipts")
DEVICE_WRITES = ("data", "status")
"""Last parts of a device's own topics."""


@dataclass(frozen=True)
class ServiceUser:
    """One of our own roles.

    Args:
        reads, writes: MQTT topic filters.
    """

    name: str
    password: str = field(repr=False)
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def bridge_user(name: str, password: str) -> ServiceUser:
    """Reads what devices say, writes their receipts."""
    return ServiceUser(name, password, reads=("devices/+/data", "devices/+/status"), writes=("devices/+/receipts",))


def dispatcher_user(name: str, password: str) -> ServiceUser:
    """Reads which sockets are online, writes their commands."""
    return ServiceUser(name, password, reads=("devices/+/status",), writes=("devices/+/commands",))


def mqtt_password(settings: Settings) -> str:
    """The bridge's password: the setting, or the one made for the embedded broker."""
    return settings.mqtt_password.get_secret_value() or bridge_password(settings.data_dir)


def mqtt_dispatcher_password(settings: Settings) -> str:
    """The dispatcher's, likewise."""
    return settings.mqtt_dispatcher_password.get_secret_value() or dispatcher_password(settings.data_dir)


def service_users(settings: Settings) -> list[ServiceUser]:
    """Everyone who may connect beside the devices."""
    return [
        bridge_user(settings.mqtt_username, mqtt_password(settings)),
        dispatcher_user(settings.mqtt_dispatcher_username, mqtt_dispatcher_password(settings)),
    ]
