"""Apache Kafka as a child: a KRaft node on loopback, alone or one of a cluster, its log kept for ever.

It runs in its own folder and is told of files by their names there: in a `.properties` file a path with a comma would
be two, and one beyond ASCII another; in `log4j2.xml` an `&` would end it.
"""

from __future__ import annotations

import base64
import os
import shutil
import struct
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from ops.child import ChildFailed, ChildSpec
from ops.embedded.jars import cache_dir, fetch_jars
from ops.embedded.java import find_java
from ops.embedded.ports import LOOPBACK, ask

_FORMAT_WITHIN_S = 60
_PROPERTIES_FILE, _LOG4J_FILE = "server.properties", "log4j2.xml"
_LOGGING = f"-Dlog4j2.configurationFile={_LOG4J_FILE}"

_PROPERTIES = """\
process.roles=broker,controller
node.id={node_id}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
{quorum}
log.dirs={log}
auto.create.topics.enable=false
log.retention.ms=-1
log.retention.bytes=-1
offsets.topic.num.partitions=4
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=2
num.io.threads=4
"""

_LOG4J = """\
<Configuration status="WARN">
  <Appenders>
    <RollingFile name="file" fileName="../logs/{name}.log" filePattern="../logs/{name}.log.%i">
      <PatternLayout pattern="%d{{yyyy-MM-dd'T'HH:mm:ss.SSSX}}{{UTC}} %p %m (%c{{1}})%n"/>
      <SizeBasedTriggeringPolicy size="10 MB"/>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
    <Console name="fatal" target="SYSTEM_ERR">
      <ThresholdFilter level="ERROR"/>
      <PatternLayout pattern="%p %m%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="file"/><AppenderRef ref="fatal"/></Root>
    <Logger name="kafka.server.KafkaRaftServer" level="INFO"/>
  </Loggers>
</Configuration>
"""

# A node that shares few cores: the second compiler and a concurrent collector cost more than they bring. Measured on
# 2 cores, CPU-µs per record of the first, second and third 100,000: 6.4, 2.7, 2.8 instead of 17.2, 8.0, 5.7 (with G1
# and both compilers); 1.9 s of CPU for a start instead of 5.0.
_FRUGAL_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True)
class Quorum:
    """The cluster that several nodes make: every one is broker and controller; nodes count from 1."""

    cluster_id: str
    controller_ports: tuple[int, ...]


@dataclass(frozen=True)
class EmbeddedKafka:
    """Where the node lives. `port` is for clients; the controller's port is its own business."""

    data_dir: Path
    port: int
    controller_port: int
    node_id: int = 1
    quorum: Quorum | None = None
    heap_mib: int = 512

    @property
    def name(self) -> str:
        return "kafka" if self.quorum is None else f"kafka-{self.node_id}"

    @property
    def home(self) -> Path:
        return self.data_dir.resolve() / self.name

    def spec(self) -> ChildSpec:
        """The child; its jars must have been fetched (`jars.fetch_jars`) or be fetchable."""
        java = [_java(), f"-Xmx{self.heap_mib}m", f"-Xms{self.heap_mib // 2}m", *_FRUGAL_JAVA]
        java += ["-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]
        return ChildSpec(
            name=self.name,
            argv=[*java, _LOGGING, "kafka.Kafka", _PROPERTIES_FILE],
            env=_java_env(),
            cwd=self.home,
            log_path=self.data_dir.resolve() / "logs" / f"{self.name}.out",
            prepare=self.prepare,
            is_ready=self.is_ready,
            stop_within_s=20,
        )

    def prepare(self) -> None:
        """Write the configuration and, at the very first start, format the log directory.

        Raises:
            ChildFailed: it cannot be formatted.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / _LOG4J_FILE).write_text(_LOG4J.format(name=self.name))
        if not (self.home / "log" / "meta.properties").exists():
            self._format()
        self._write_properties(_PROPERTIES_FILE, "log")

    def is_ready(self) -> bool:
        """It answers an ApiVersions request, which it does only once it is registered and caught up."""
        return kafka_answers((LOOPBACK, self.port))

    def _write_properties(self, name: str, log: str) -> None:
        quorum, replicas = f"controller.quorum.bootstrap.servers={LOOPBACK}:{self.controller_port}", 1
        if self.quorum is not None:
            voters = enumerate(self.quorum.controller_ports, start=1)
            quorum = "controller.quorum.voters=" + ",".join(f"{node}@{LOOPBACK}:{port}" for node, port in voters)
            replicas = min(3, len(self.quorum.controller_ports))
        (self.home / name).write_text(
            _PROPERTIES.format(
                host=LOOPBACK,
                port=self.port,
                controller_port=self.controller_port,
                node_id=self.node_id,
                quorum=quorum,
                replicas=replicas,
                in_sync=2 if replicas >= 3 else 1,
                log=log,
            )
        )

    def _format(self) -> None:
        # Formatted under another name and renamed, so that an interrupted attempt is simply begun again.
        draft, properties = self.home / "log.draft", "format.properties"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        self._write_properties(properties, draft.name)
        tool = [_java(), "-Xmx128m", _LOGGING, "kafka.tools.StorageTool", "format", "--cluster-id"]
        tool += [new_cluster_id(), "--standalone"] if self.quorum is None else [self.quorum.cluster_id]
        try:
            done = subprocess.run(  # noqa: S603
                [*tool, "--config", properties],
                env={**os.environ, **_java_env()},
                cwd=self.home,
                capture_output=True,
                text=True,
                timeout=_FORMAT_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            detail = f"{draft} was not formatted within {_FORMAT_WITHIN_S:g} s"
            raise ChildFailed("kafka", detail) from None
        if done.returncode != 0:
            raise ChildFailed("kafka", f"{draft} cannot be formatted: {(done.stderr or done.stdout)[-400:]}")
        draft.replace(self.home / "log")


def _java() -> str:
    return str(find_java().absolute())


def _java_env() -> dict[str, str]:
    # In the locale of a bare service Java could not open a path beyond ASCII.
    return {"CLASSPATH": fetch_jars(cache_dir()), "LC_ALL": "C.UTF-8"}


def kafka_answers(address: tuple[str, int], within_s: float = 0.5) -> bool:
    """Whether a broker answers an ApiVersions request."""
    answer = ask(address, _API_VERSIONS_REQUEST, 10, within_s)
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (_CORRELATION_ID, 0)


def new_cluster_id() -> str:
    """A random id in Kafka's form: 16 bytes in base64, and like Kafka's own never one that reads like an option."""
    while (cluster_id := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return cluster_id


_CORRELATION_ID = 7
_CLIENT = b"wattaway-probe"
# ApiVersions v0. Source: Kafka protocol guide, request header v1: key 18, version 0, correlation id, client id.
_HEADER = struct.pack(">hhih", 18, 0, _CORRELATION_ID, len(_CLIENT)) + _CLIENT
_API_VERSIONS_REQUEST = struct.pack(">i", len(_HEADER)) + _HEADER
