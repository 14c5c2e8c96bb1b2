"""Apache Kafka as three nodes on loopback: replication 3, and a write counts once two of them have it."""

from __future__ import annotations

from pathlib import Path

from ops.child import ChildSpec
from ops.embedded.kafka import EmbeddedKafka, Quorum, new_cluster_id

_HEAP_MIB = 400


class KafkaCluster:
    """The nodes of one cluster, each with its own folder below `data_dir`."""

    def __init__(self, data_dir: Path, ports: tuple[int, ...], controller_ports: tuple[int, ...]) -> None:
        quorum = Quorum(_stored_cluster_id(data_dir), controller_ports)
        self._nodes = [
            EmbeddedKafka(data_dir, port, controller_port, node_id, quorum, _HEAP_MIB)
            for node_id, (port, controller_port) in enumerate(zip(ports, controller_ports, strict=True), start=1)
        ]

    def specs(self) -> list[ChildSpec]:
        """The nodes' processes, `kafka-1` first; a node answers once enough of them run."""
        return [node.spec() for node in self._nodes]


def _stored_cluster_id(data_dir: Path) -> str:
    path = data_dir / "kafka.cluster-id"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.write_text(new_cluster_id(), encoding="ascii")
        draft.replace(path)
    return path.read_text(encoding="ascii")
