"""The two ways to run, each started for one bench in a folder of its own, on free ports, and stopped for certain."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridges.kafka_topics import TopicNeeds
from ops.child import Child, ChildSpec, start_together
from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.nats import EmbeddedNats, wait_until_let_in
from ops.embedded.ports import free_ports
from ops.embedded.valkey import EmbeddedValkey
from ops.registering import registration
from ops.roles import role_spec
from ops.settings import Settings
from ops.stack.ports import StackPorts
from ops.stack.servers import RealServers
from ops.wiring import migrate


@dataclass(frozen=True)
class Way:
    """Servers that run.

    Args:
        env: the settings that point at them.
        servers: their processes by name.
    """

    name: str
    env: Mapping[str, str]
    servers: Mapping[str, Child]
    _let_in: set[str] = field(default_factory=set)
    _other_projectors: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        values = {name.removeprefix("WATTAWAY_").lower(): value for name, value in self.env.items()}
        return Settings(_env_file=None, **values)  # type: ignore[arg-type]

    @property
    def topic_needs(self) -> TopicNeeds:
        return TopicNeeds(self.settings.kafka_partitions, self.settings.kafka_replication)

    def tokens(self, device_ids: Iterable[str]) -> dict[str, str]:
        """MQTT passwords by device id; whoever is not registered is now. All of them may connect. Blocking."""
        with registration(self.settings, role="bench") as registering:
            tokens, _ = registering.tokens(device_ids)
        if new := tokens.keys() - self._let_in:
            # They were registered together: the broker learns of all of them at once.
            newest = next(iter(new))
            wait_until_let_in((self.settings.mqtt_host, self.settings.mqtt_port), newest, tokens[newest])
            self._let_in.update(new)
        return tokens

    def projector_metrics(self) -> list[str]:
        """Where each projector shows its metrics."""
        return [self.settings.metrics_url("projector"), *self._other_projectors]

    def process_env(self) -> dict[str, str]:
        """This process's environment with the way's settings in it."""
        return {**os.environ, **self.env}

    @contextmanager
    def roles(self, *names: str, projectors: int = 1) -> Iterator[dict[str, Child]]:
        """These roles, answering, until the end of the block; with more projectors than one if so wished."""
        children = {name: Child(role_spec(name, self.settings, self.env)) for name in names}
        for name in [f"projector-{number}" for number in range(2, projectors + 1)]:
            children[name] = Child(self._another_projector(name))
        try:
            for child in children.values():
                child.start()
            yield children
        finally:
            _stop(children.values())

    def _another_projector(self, name: str) -> ChildSpec:
        (metrics_port,) = free_ports(1)
        own = {"WATTAWAY_PROJECTOR_INSTANCE": name, "WATTAWAY_PROJECTOR_METRICS_PORT": str(metrics_port)}
        way = replace(self, env={**self.env, **own})
        self._other_projectors.append(way.settings.metrics_url("projector"))
        spec = role_spec("projector", way.settings, way.env)
        return replace(spec, name=name, log_path=spec.log_path.with_stem(name))


@contextmanager
def embedded_way(folder: Path) -> Iterator[Way]:
    """The embedded servers."""
    mqtt, nats_client, kafka, controller = free_ports(4)
    env = _own_corner() | {
        "WATTAWAY_DATA_DIR": str(folder),
        "WATTAWAY_MQTT_PORT": str(mqtt),
        "WATTAWAY_EMBEDDED_NATS_PORT": str(nats_client),
        "WATTAWAY_KAFKA_BOOTSTRAP": f"127.0.0.1:{kafka}",
        "WATTAWAY_EMBEDDED_KAFKA_CONTROLLER_PORT": str(controller),
    }
    servers = [
        Child(EmbeddedValkey(folder).spec()),
        Child(EmbeddedNats(folder, mqtt, nats_client).spec()),
        Child(EmbeddedKafka(folder, kafka, controller).spec()),
    ]
    with _running(servers):
        yield from _with_role("device-auth", "embedded", env, servers)


@contextmanager
def stack_way(folder: Path) -> Iterator[Way]:
    """The real servers, with three nodes of Kafka."""
    real = RealServers(folder, StackPorts.free())
    servers = [Child(spec) for spec in real.specs()]
    try:
        with _running(servers):
            yield from _with_role("broker-accounts", "stack", _own_corner() | real.settings(), servers)
    finally:
        real.erase()


def _with_role(role: str, name: str, env: Mapping[str, str], servers: list[Child]) -> Iterator[Way]:
    """The way with the tables, and the role that tells its broker who may connect."""
    way = Way(name, env, {child.spec.name: child for child in servers})
    migrate(way.settings)
    with way.roles(role) as running:
        yield replace(way, servers={**way.servers, **running})


@contextmanager
def _running(children: list[Child]) -> Iterator[None]:
    try:
        start_together(children)
        yield
    finally:
        _stop(children)


def _stop(children: Iterable[Child]) -> None:
    """All at once, then wait for each."""
    running = [child for child in children if child.is_running()]
    for child in running:
        child.signal(signal.SIGTERM)
    for child in running:
        child.stop()


def _own_corner() -> dict[str, str]:
    bridge, projector, relay, dispatcher, api = free_ports(5)
    return {
        "WATTAWAY_KAFKA_TOPIC_PREFIX": f"bench{secrets.token_hex(2)}.",
        "WATTAWAY_BRIDGE_METRICS_PORT": str(bridge),
        "WATTAWAY_PROJECTOR_METRICS_PORT": str(projector),
        "WATTAWAY_RELAY_METRICS_PORT": str(relay),
        "WATTAWAY_DISPATCHER_METRICS_PORT": str(dispatcher),
        "WATTAWAY_API_PORT": str(api),
        # How often anybody may ask is not what is measured.
        **{f"WATTAWAY_RATE_LIMIT_{who}": "6000000/minute" for who in ("TOKENS", "USERS", "STRANGERS", "SIGN_IN")},
        "WATTAWAY_LOG_FORMAT": "json",
        "WATTAWAY_LOG_LEVEL": "warning",
    }
