"""compose.yaml is valid and says the same as ops/stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ops.embedded.jars import KAFKA_VERSION
from ops.embedded.kafka import EmbeddedKafka, Quorum
from ops.settings import METRICS_ROLES, Settings
from ops.stack.mosquitto import mosquitto_options
from ops.stack.ports import KAFKA_NODES, StackPorts
from ops.stack.redis import RedisServer
from tests.servers import settings_from

_ROOT = Path(__file__).parents[2]
_PASSWORDS = {f"WATTAWAY_{name}_PASSWORD": "x" * 16 for name in ("DATABASE", "REDIS", "MQTT", "MQTT_DISPATCHER")}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content = yaml.safe_load((_ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_docker_compose_accepts_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("no `docker compose` on this machine")
    argv = [docker, "compose", "--file", str(_ROOT / "compose.yaml"), "config", "--quiet"]
    told = subprocess.run(argv, env={**os.environ, **_PASSWORDS}, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr


def test_it_publishes_on_loopback_only_and_on_the_ports_of_the_stack(compose: dict[str, Any]) -> None:
    published = {name: port for name, one in compose["services"].items() for port in one.get("ports", [])}
    ports = StackPorts()
    assert published == {
        "mosquitto": f"127.0.0.1:{ports.mosquitto}:1883",
        "mariadb": f"127.0.0.1:{ports.mariadb}:3306",
        "redis": f"127.0.0.1:{ports.redis}:6379",
        "api": "127.0.0.1:28080:28080",
    }


def test_its_mosquitto_has_the_options_of_the_stack(compose: dict[str, Any]) -> None:
    theirs = compose["configs"]["mosquitto"]["content"].splitlines()
    ours = mosquitto_options(Path("/accounts"), 1883).splitlines()
    places = ("listener", "persistence_location", "user")
    assert _without(theirs, places) == _without(ours, places)


def test_its_redis_has_the_options_of_the_stack(compose: dict[str, Any], tmp_path: Path) -> None:
    RedisServer(tmp_path / "re dis", 6379).spec.prepare()
    ours = (tmp_path / "re dis" / "redis.conf").read_text(encoding="utf-8").splitlines()
    (written,) = re.findall(r"printf '(.*?)'", compose["services"]["redis"]["command"][-1])
    places = ("bind", "port", "dir", "daemonize", "requirepass")
    assert _without(written.split("\\n")[:-1], places) == _without(ours, places)


def _without(lines: list[str], options: tuple[str, ...]) -> list[str]:
    return [line for line in lines if line.split()[0] not in options]


def test_its_kafka_has_the_properties_of_the_stack(compose: dict[str, Any], tmp_path: Path) -> None:
    node = EmbeddedKafka(tmp_path, 9092, 9093, 1, Quorum("d2F0dGF3YXktY29tcG9zZQ", (9093,) * KAFKA_NODES))
    (node.home / "log").mkdir(parents=True)
    (node.home / "log" / "meta.properties").touch()  # So that it is not formatted.
    node.prepare()
    lines = (node.home / "server.properties").read_text(encoding="utf-8").splitlines()
    ours = dict(line.split("=", 1) for line in lines)
    for number in range(1, KAFKA_NODES + 1):
        service = compose["services"][f"kafka-{number}"]
        theirs = service["environment"]
        assert service["image"] == f"apache/kafka:{KAFKA_VERSION}"
        assert theirs["KAFKA_NODE_ID"] == str(number)
        for name in ours.keys() - _OF_THE_PLACE:
            assert theirs.get(_variable(name)) == ours[name], name


# Addresses, folders, sizes and the short time-outs of a small machine; all else must be equal.
_OF_THE_PLACE = {
    "node.id", "listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs",
    "offsets.topic.num.partitions", "transaction.state.log.num.partitions",
    "share.coordinator.state.topic.num.partitions", "num.network.threads", "num.io.threads",
    "broker.heartbeat.interval.ms", "broker.session.timeout.ms",
}  # fmt: skip


def _variable(name: str) -> str:
    return "KAFKA_" + name.upper().replace(".", "_")


def test_its_roles_get_only_settings_that_exist(compose: dict[str, Any]) -> None:
    known = {f"WATTAWAY_{name.upper()}" for name in Settings.model_fields}
    for role in ("bridge", "projector", "relay", "dispatcher", "broker-accounts", "api", "migrate", "accounts"):
        assert set(compose["services"][role]["environment"]) <= known


def test_its_api_finds_the_metrics_of_the_other_roles(compose: dict[str, Any]) -> None:
    environment = compose["services"]["api"]["environment"]
    settings = settings_from({name: environment[name] for name in environment if "METRICS" in name})
    found = {role: urlsplit(url) for role, url in settings.resolved_metrics_sources().items()}
    assert sorted(found) == sorted(METRICS_ROLES)
    for role, url in found.items():
        shown = compose["services"][role]
        assert shown["environment"]["WATTAWAY_METRICS_HOST"] == "0.0.0.0"
        assert shown["command"] == ["run", url.hostname]
        assert url.port == getattr(settings, f"{role}_metrics_port")


def test_its_mariadb_has_the_options_of_the_stack(compose: dict[str, Any]) -> None:
    source = (_ROOT / "ops/stack/mariadb.py").read_text(encoding="utf-8")
    block = re.search(r'_OPTIONS = """\[mysqld\]\n(.*?)"""', source, re.DOTALL)
    assert block is not None
    ours = {line.replace("_", "-").replace(" = ", "=") for line in block[1].splitlines()}
    ours = {line.replace("utf8mb4-bin", "utf8mb4_bin") for line in ours if "{" not in line and "mariadb." not in line}
    assert {option.removeprefix("--") for option in compose["services"]["mariadb"]["command"]} == ours
