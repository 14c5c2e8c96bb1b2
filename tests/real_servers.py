"""The real servers of ops/stack, started for a whole test session in a data dir of its own, on free ports."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pymysql

from ops.child import Child, start_together
from ops.credentials import stored_secret
from ops.embedded.nats import mqtt_lets_in
from ops.embedded.ports import LOOPBACK
from ops.roles import role_spec
from ops.stack.packages import SERVERS, missing_packages
from ops.stack.ports import StackPorts
from ops.stack.servers import RealServers
from ops.wiring import migrate
from tests.broker_door import BrokerDoor
from tests.servers import settings_from

_KAFKA = ("kafka-1", "kafka-2", "kafka-3")


def why_not() -> str | None:
    """Why the real servers cannot be started here, or None."""
    missing = missing_packages(SERVERS)
    return f"not installed: {', '.join(missing)} (`python -m ops.stack install`)" if missing else None


class StackSet:
    """The real servers as children that die with the test session."""

    GROUPS: Mapping[str, tuple[str, ...]] = {"mqtt": ("mosquitto",), "database": ("mariadb",), "kafka": _KAFKA}
    NAMES = ("mqtt", "redis", "database", "kafka", *_KAFKA, "broker-accounts")

    def __init__(self, data_dir: Path) -> None:
        self.servers = RealServers(data_dir, StackPorts.free())
        self.env = self.servers.settings()
        settings = settings_from(self.env)
        self.door = BrokerDoor(settings, opens_at_once=False)
        self._children = {spec.name: Child(spec) for spec in self.servers.specs()}
        self._accounts = Child(role_spec("broker-accounts", settings, self.env))

    def start_all(self) -> None:
        start_together(list(self._children.values()))
        migrate(self.door.settings)
        self._children["broker-accounts"] = self._accounts
        self._accounts.start()

    def stop_all(self) -> None:
        self.door.close()
        for child in self._children.values():
            child.signal(signal.SIGTERM)
        for child in self._children.values():
            child.stop()
        self.servers.mariadb.erase()

    def start(self, name: str) -> None:
        start_together([child for child in self._named(name) if not child.is_running()])

    def kill9(self, name: str) -> None:
        for child in self._named(name):
            child.signal(signal.SIGKILL)
        for child in self._named(name):
            child.kill()

    def send(self, name: str, number: signal.Signals) -> None:
        for child in self._named(name):
            child.signal(number)

    def new_corner(self, marker: str, folder: Path) -> dict[str, str]:
        """An empty database, and an MQTT account: Mosquitto takes the user as client id, so two bridges need two."""
        user, password = f"bridge-{marker}", stored_secret(folder / "bridge.secret")
        self.servers.mosquitto.admit_bridge(user, password)
        self._sql(f"CREATE DATABASE `{_database(marker)}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        return {
            "WATTAWAY_MQTT_USERNAME": user,
            "WATTAWAY_MQTT_CLIENT_ID": user,
            "WATTAWAY_MQTT_PASSWORD": password,
            "WATTAWAY_DATABASE_URL": self.servers.mariadb.url_of(_database(marker)),
        }

    def remove_corner(self, env: Mapping[str, str]) -> None:
        """Drop the database and end the bridge's persistent session, then its account."""
        user, password = env["WATTAWAY_MQTT_USERNAME"], env["WATTAWAY_MQTT_PASSWORD"]
        mqtt_lets_in((LOOPBACK, self.servers.ports.mosquitto), user, password, client_id=user)
        self.servers.mosquitto.dismiss_bridge(user)
        self._sql(f"DROP DATABASE `{_database(user.removeprefix('bridge-'))}`")

    def _named(self, name: str) -> list[Child]:
        return [self._children[one] for one in self.GROUPS.get(name, (name,))]

    def _sql(self, statement: str) -> None:
        with pymysql.connect(**self.servers.mariadb.login()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)


def _database(marker: str) -> str:
    return f"wattaway_t{marker}"
