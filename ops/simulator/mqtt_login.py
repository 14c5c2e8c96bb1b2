"""Who connects to which MQTT broker, and what can go wrong with that."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from domain.errors import DependencyUnavailable
from ops.simulator.mqtt_packets import Will, connect_packet


class MqttRefused(DependencyUnavailable):
    """The broker said no: to the connection or to a subscription."""

    def __init__(self, detail: str) -> None:
        super().__init__("mqtt", detail)


class MqttClosed(DependencyUnavailable):
    """The connection is gone."""

    def __init__(self, detail: str) -> None:
        super().__init__("mqtt", detail)


@dataclass(frozen=True)
class Login:
    """Who connects where, and the last will."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keep_alive_s: int = 60
    clean_session: bool = True
    will: Will | None = None
    tls: ssl.SSLContext | None = None

    def packet(self) -> bytes:
        """The CONNECT packet."""
        return connect_packet(
            self.client_id,
            username=self.username,
            password=self.password,
            keep_alive_s=self.keep_alive_s,
            clean_session=self.clean_session,
            will=self.will,
        )
