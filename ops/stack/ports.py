"""The loopback ports of the real servers.

Others than the embedded ones and the usual ones, so that all can run side by side, and below 32768, from where the
system takes the ports of outgoing connections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass

from domain.errors import SettingInvalid
from ops.embedded.ports import free_ports, why_not_free

KAFKA_NODES = 3


@dataclass(frozen=True)
class StackPorts:
    """One port per server; Kafka's are one per node."""

    mosquitto: int = 22883
    mariadb: int = 23306
    redis: int = 26379
    kafka: tuple[int, ...] = (27092, 27093, 27094)
    kafka_controllers: tuple[int, ...] = (27192, 27193, 27194)

    @classmethod
    def free(cls) -> StackPorts:
        """Ports that were free a moment ago; for tests."""
        ports = free_ports(3 + 2 * KAFKA_NODES)
        mosquitto, mariadb, redis = ports[:3]
        return cls(mosquitto, mariadb, redis, tuple(ports[3 : 3 + KAFKA_NODES]), tuple(ports[3 + KAFKA_NODES :]))

    def check_free(self) -> None:
        """Return if all of them can be used.

        Raises:
            SettingInvalid: names those that somebody uses.
        """
        taken = [str(port) for port in self._all() if why_not_free(port)]
        if taken:
            raise SettingInvalid(f"port {', '.join(taken)} on loopback is in use: stop what listens there")

    def _all(self) -> Iterator[int]:
        for one in astuple(self):
            yield from one if isinstance(one, tuple) else (one,)
