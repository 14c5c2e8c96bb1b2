"""The servers that tests run against, whichever way they were started."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from domain.lifecycle.cause import system_cause
from domain.lifecycle.sockets import NewDevice
from ops.application import open_application
from ops.child import Child
from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.nats import EmbeddedNats, mqtt_lets_in
from ops.embedded.ports import free_ports
from ops.embedded.valkey import EmbeddedValkey
from ops.roles import role_spec
from ops.service_users import mqtt_password
from ops.settings import Settings
from ops.wiring import migrate
from tests.broker_door import BrokerDoor


@dataclass(frozen=True)
class Servers:
    """One running set of servers.

    Args:
        variant: `embedded` or `stack`.
        env: the `WATTAWAY_…` variables that point at them.
        new_corner: makes what one test needs of its own there (an empty database, a bridge's MQTT account) and returns
            the variables that name it; gets the test's marker and folder.
        remove_corner: takes these variables and undoes it.
        door: lets devices through to the MQTT broker.
        kill9: by name (`kafka`, `mqtt`, `redis`, `database`, …): SIGKILL, returns when it is gone.
        start: by name: starts it again, returns when it answers.
        pause, resume: by name: SIGSTOP and SIGCONT.
        names: what there is to kill.
    """

    variant: str
    env: Mapping[str, str]
    new_corner: Callable[[str, Path], Mapping[str, str]]
    remove_corner: Callable[[Mapping[str, str]], None]
    door: BrokerDoor
    kill9: Callable[[str], None]
    start: Callable[[str], None]
    pause: Callable[[str], None]
    resume: Callable[[str], None]
    names: tuple[str, ...]

    def admit(self, device_ids: Iterable[str]) -> Mapping[str, str]:
        """Register devices with the session's broker, if they are not; their tokens. They may connect at once."""
        return self.door.admit(device_ids)


@dataclass(frozen=True)
class World:
    """What one test has to itself on shared servers: its own topics, keys, database, session and metrics ports."""

    servers: Servers
    env: Mapping[str, str]
    settings: Settings
    marker: str
    _roles: list[Child] = field(default_factory=list)

    def device_id(self, name: str = "socket") -> str:
        """A device id that no other test uses."""
        return f"{name}-{self.marker}"

    @property
    def broker_env(self) -> dict[str, str]:
        """The test's settings with the event store that the session's broker follows: for tools that register."""
        return {**self.env, "WATTAWAY_EVENT_STORE_URL": self.servers.door.settings.resolved_event_store_url()}

    def register(self, tenant_id: str, device_ids: Iterable[str]) -> Mapping[str, str]:
        """Register devices in a tenant of the test's own event store, too; their tokens, which both count with."""
        tokens = self.servers.admit(device_ids)
        with open_application(self.settings) as application:
            new = [NewDevice(device_id, device_id, token=token) for device_id, token in tokens.items()]
            application.sockets.register(tenant_id, new, system_cause("test", datetime.now(UTC)))
        return tokens

    def settings_with(self, **changes: object) -> Settings:
        """The settings with some changed."""
        return settings_from(self.env | {f"WATTAWAY_{name.upper()}": str(value) for name, value in changes.items()})

    def role(self, name: str, *, env: Mapping[str, str] | None = None) -> Child:
        """A role of this test, not started yet; stopped at the end of the test if it still runs."""
        full = {**self.env, **(env or {})}
        child = Child(role_spec(name, settings_from(full), full))
        self._roles.append(child)
        return child

    def start_role(self, name: str, *, env: Mapping[str, str] | None = None) -> Child:
        """A running role that answers."""
        child = self.role(name, env=env)
        child.start()
        return child

    def stop_roles(self) -> None:
        """Stop what still runs, all at once."""
        threads = [threading.Thread(target=child.stop) for child in self._roles if child.is_running()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def settings_from(env: Mapping[str, str]) -> Settings:
    """Settings of exactly these variables, whatever the environment or a `.env` file says."""
    values = {name.removeprefix("WATTAWAY_").lower(): value for name, value in env.items()}
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


def new_world(servers: Servers, folder: Path) -> World:
    """A fresh corner of the servers for one test, whose own folder is `folder`."""
    marker = secrets.token_hex(4)
    bridge_port, projector_port, relay_port, dispatcher_port, api_port = free_ports(5)
    env = {
        **servers.env,
        "WATTAWAY_KAFKA_TOPIC_PREFIX": f"t{marker}.",
        "WATTAWAY_REDIS_PREFIX": f"t{marker}:",
        **servers.new_corner(marker, folder),
        "WATTAWAY_BRIDGE_METRICS_PORT": str(bridge_port),
        "WATTAWAY_PROJECTOR_METRICS_PORT": str(projector_port),
        "WATTAWAY_RELAY_METRICS_PORT": str(relay_port),
        "WATTAWAY_DISPATCHER_METRICS_PORT": str(dispatcher_port),
        "WATTAWAY_API_PORT": str(api_port),
        "WATTAWAY_LOG_FORMAT": "json",
    }
    return World(servers, env, settings_from(env), marker)


class EmbeddedSet:
    """The embedded servers and their auth callout, for a whole test session."""

    ALIASES: Mapping[str, str] = {"mqtt": "nats", "redis": "valkey"}

    def __init__(self, data_dir: Path) -> None:
        mqtt, nats_client, kafka, controller = free_ports(4)
        self.env = {
            "WATTAWAY_DATA_DIR": str(data_dir),
            "WATTAWAY_MQTT_PORT": str(mqtt),
            "WATTAWAY_EMBEDDED_NATS_PORT": str(nats_client),
            "WATTAWAY_KAFKA_BOOTSTRAP": f"127.0.0.1:{kafka}",
            "WATTAWAY_EMBEDDED_KAFKA_CONTROLLER_PORT": str(controller),
        }
        self._address = ("127.0.0.1", mqtt)
        self.door = BrokerDoor(settings_from(self.env), opens_at_once=True)
        specs = [
            EmbeddedValkey(data_dir).spec(),
            EmbeddedNats(data_dir, mqtt, nats_client).spec(),
            EmbeddedKafka(data_dir, kafka, controller).spec(),
            role_spec("device-auth", settings_from(self.env), self.env),
        ]
        self._children = {spec.name: Child(spec) for spec in specs}

    def child(self, name: str) -> Child:
        return self._children[self.ALIASES.get(name, name)]

    def start_all(self) -> None:
        migrate(settings_from(self.env))
        for child in self._children.values():
            child.start()

    def stop_all(self) -> None:
        self.door.close()
        for child in reversed(self._children.values()):
            child.stop()

    def start(self, name: str) -> None:
        if not self.child(name).is_running():
            self.child(name).start()

    def new_corner(self, marker: str, folder: Path) -> dict[str, str]:
        return {
            "WATTAWAY_DATABASE_URL": f"sqlite:///{folder / 'wattaway.db'}",
            "WATTAWAY_EVENT_STORE_URL": f"sqlite:///{folder / 'events.db'}",
            "WATTAWAY_MQTT_CLIENT_ID": f"bridge-{marker}",
        }

    def remove_corner(self, env: Mapping[str, str]) -> None:
        """End the bridge's persistent session, or the broker keeps every later test's messages for it."""
        settings = settings_from(env)
        mqtt_lets_in(self._address, settings.mqtt_username, mqtt_password(settings), client_id=settings.mqtt_client_id)
