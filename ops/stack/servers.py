"""The real servers as one: how each is started, what the app must know of them, and whom the MQTT broker lets in."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ops.child import ChildSpec
from ops.credentials import device_token, fleet_secret
from ops.embedded.ports import LOOPBACK
from ops.stack.kafka_cluster import KafkaCluster
from ops.stack.mariadb import MariaDbServer
from ops.stack.mosquitto import BRIDGE_USER, MosquittoServer
from ops.stack.ports import KAFKA_NODES, StackPorts
from ops.stack.redis import RedisServer


class RealServers:
    """MariaDB, Redis, Mosquitto and three nodes of Kafka below one data dir.

    Raises:
        SettingInvalid: one of them is not installed.
    """

    def __init__(self, data_dir: Path, ports: StackPorts) -> None:
        self.data_dir = data_dir.absolute()
        self.ports = ports
        self.mariadb = MariaDbServer(self.data_dir / "mariadb", ports.mariadb)
        self.redis = RedisServer(self.data_dir / "redis", ports.redis)
        self.mosquitto = MosquittoServer(self.data_dir / "mosquitto", ports.mosquitto)
        self.kafka = KafkaCluster(self.data_dir, ports.kafka, ports.kafka_controllers)

    def specs(self) -> list[ChildSpec]:
        """The processes, any order."""
        return [self.mariadb.spec, self.redis.spec, self.mosquitto.spec, *self.kafka.specs()]

    def settings(self) -> dict[str, str]:
        """The app's settings as environment variables; passwords among them."""
        return {
            "WATTAWAY_DATA_DIR": str(self.data_dir),
            "WATTAWAY_MQTT_HOST": LOOPBACK,
            "WATTAWAY_MQTT_PORT": str(self.ports.mosquitto),
            "WATTAWAY_MQTT_USERNAME": BRIDGE_USER,
            "WATTAWAY_MQTT_PASSWORD": self.mosquitto.bridge_password,
            "WATTAWAY_MQTT_CLIENT_ID": BRIDGE_USER,
            "WATTAWAY_KAFKA_BOOTSTRAP": ",".join(f"{LOOPBACK}:{port}" for port in self.ports.kafka),
            "WATTAWAY_KAFKA_REPLICATION": str(KAFKA_NODES),
            "WATTAWAY_DATABASE_URL": self.mariadb.url,
            "WATTAWAY_REDIS_URL": self.redis.url,
        }

    def admit_devices(self, device_ids: Iterable[str]) -> None:
        """Let devices connect with the tokens that the data dir's fleet secret gives them."""
        secret = fleet_secret(self.data_dir)
        self.mosquitto.admit_devices({device_id: device_token(secret, device_id) for device_id in device_ids})

    def erase(self) -> None:
        """Delete what the servers keep; none of them may run."""
        self.mariadb.erase()
        for name in ("mariadb", "redis", "mosquitto", "logs", *(spec.name for spec in self.kafka.specs())):
            shutil.rmtree(self.data_dir / name, ignore_errors=True)
        for name in ("env", "fleet.secret", "kafka.cluster-id"):
            (self.data_dir / name).unlink(missing_ok=True)
