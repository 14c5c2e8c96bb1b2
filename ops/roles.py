"""The roles of WattAway as child processes: `wattaway run ROLE` with the settings in its environment."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ops.child import ChildSpec
from ops.embedded.nats import mqtt_lets_in
from ops.settings import Settings
from ops.wiring import mqtt_password

_PROBE_S = 1.0
# Longer than the 10 s in which a role drains.
_STOP_WITHIN_S = 12.0


@dataclass(frozen=True)
class Role:
    """How a role is known to work, and what must answer before it starts."""

    is_ready: Callable[[Settings], bool]
    after: tuple[str, ...]


def _device_auth_answers(settings: Settings) -> bool:
    address = (settings.mqtt_host, settings.mqtt_port)
    return mqtt_lets_in(address, settings.mqtt_username, mqtt_password(settings), within_s=_PROBE_S)


def _serves_metrics(port: int) -> bool:
    return port == 0 or _http_ok(f"http://127.0.0.1:{port}/metrics")


def _http_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_S) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


ROLES: Mapping[str, Role] = {
    "device-auth": Role(_device_auth_answers, after=("nats",)),
    "bridge": Role(lambda settings: _serves_metrics(settings.bridge_metrics_port), after=("kafka", "device-auth")),
    "projector": Role(lambda settings: _serves_metrics(settings.projector_metrics_port), after=("kafka", "valkey")),
    "api": Role(
        lambda settings: _http_ok(f"http://{_reachable(settings.api_host)}:{settings.api_port}/healthz"),
        after=("valkey",),
    ),
}


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104


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
