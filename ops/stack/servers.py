"""The real servers as one: how each is started, and what the app must know of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from ops.child import ChildSpec
from ops.embedded.ports import LOOPBACK
from ops.registering import TOKENS_FILE
from ops.stack.kafka_cluster import KafkaCluster
from ops.stack.mariadb import MariaDbServer
from ops.stack.mosquitto import BRIDGE_USER, DISPATCHER_USER, MosquittoServer
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
            "WATTAWAY_MQTT_DISPATCHER_USERNAME": DISPATCHER_USER,
            "WATTAWAY_MQTT_DISPATCHER_PASSWORD": self.mosquitto.dispatcher_password,
            "WATTAWAY_MQTT_DISPATCHER_CLIENT_ID": DISPATCHER_USER,
            "WATTAWAY_KAFKA_BOOTSTRAP": ",".join(f"{LOOPBACK}:{port}" for port in self.ports.kafka),
            "WATTAWAY_KAFKA_REPLICATION": str(KAFKA_NODES),
            "WATTAWAY_DATABASE_URL": self.mariadb.url,
            "WATTAWAY_REDIS_URL": self.redis.url,
            **self.mosquitto.settings,
        }

    def erase(self) -> None:
        """Delete what the servers keep; none of them may run."""
        self.mariadb.erase()
        for name in ("mariadb", "redis", "mosquitto", "logs", *(spec.name for spec in self.kafka.specs())):
            shutil.rmtree(self.data_dir / name, ignore_errors=True)
        for name in ("env", "master.secret", TOKENS_FILE, "kafka.cluster-id"):
            (self.data_dir / name).unlink(missing_ok=True)
