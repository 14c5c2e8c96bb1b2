"""The roles of WattAway as child processes: `wattaway run ROLE` with the settings in its environment."""

from __future__ import annotations

import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from ops.child import ChildSpec
from ops.embedded.nats import mqtt_lets_in
from ops.mqtt_tls import mqtt_tls
from ops.service_users import mqtt_password
from ops.settings import Settings

_PROBE_S = 1.0
# Whether it answers, at whatever name its certificate is for; nothing secret is sent.
_UNCHECKED = ssl.create_default_context()
_UNCHECKED.check_hostname = False
_UNCHECKED.verify_mode = ssl.CERT_NONE
# Longer than the 10 s in which a role drains.
_STOP_WITHIN_S = 12.0


@dataclass(frozen=True)
class Role:
    """How a role is known to work, and what must answer before it starts."""

    is_ready: Callable[[Settings], bool]
    after: tuple[str, ...]


def _broker_lets_us_in(settings: Settings) -> bool:
    address = (settings.mqtt_host, settings.mqtt_port)
    return mqtt_lets_in(
        address, settings.mqtt_username, mqtt_password(settings), within_s=_PROBE_S, tls=mqtt_tls(settings)
    )


def _serves_metrics(role: str, settings: Settings) -> bool:
    url = settings.metrics_url(role)
    return not url or _http_ok(url)


def _http_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_S, context=_UNCHECKED) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


ROLES: Mapping[str, Role] = {
    "device-auth": Role(_broker_lets_us_in, after=("nats",)),
    "broker-accounts": Role(_broker_lets_us_in, after=()),
    "bridge": Role(partial(_serves_metrics, "bridge"), after=("kafka", "device-auth")),
    "projector": Role(partial(_serves_metrics, "projector"), after=("kafka", "valkey")),
    "dispatcher": Role(partial(_serves_metrics, "dispatcher"), after=("kafka", "device-auth")),
    "relay": Role(partial(_serves_metrics, "relay"), after=("kafka",)),
    "api": Role(lambda settings: _http_ok(f"{settings.api_url}/healthz"), after=("valkey",)),
}


def role_spec(name: str, settings: Settings, env: Mapping[str, str]) -> ChildSpec:
    """A role as a child.

    Args:
        settings: what `env` says, for its readiness probe.
        env: `WATTAWAY_…` variables that the child gets on top of this process's environment.
    """
    role = ROLES[name]
    return ChildSpec(
        name=name,
        argv=[sys.executable, "-m", "ops.cli", "run", name],
        env=env,
        log_path=settings.data_dir.resolve() / "logs" / f"{name}.log",
        is_ready=lambda: role.is_ready(settings),
        stop_within_s=_STOP_WITHIN_S,
        after=role.after,
    )
