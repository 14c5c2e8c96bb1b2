"""`wattaway run ROLE`: each role under its name. One role's imports cost the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop

from ops.settings import Settings


def run_device_auth(settings: Settings) -> None:
    """Serve the embedded broker's auth callout until SIGTERM."""
    from ops.broker_roles import serve_device_auth_role

    asyncio.run(serve_device_auth_role(settings))


def run_broker_accounts(settings: Settings) -> None:
    """Keep Mosquitto's account files equal to what is registered, until SIGTERM."""
    from ops.broker_roles import serve_broker_accounts_role

    asyncio.run(serve_broker_accounts_role(settings))


def run_bridge(settings: Settings) -> None:
    """Carry readings from MQTT into the log until SIGTERM."""
    from ops.bridge_role import serve_bridge_role

    uvloop.run(serve_bridge_role(settings))


def run_projector(settings: Settings, *, on_step: Callable[[str], None] = lambda _step: None) -> None:
    """Fold the log into the read models until SIGTERM; `on_step` is for tests that kill it between two steps."""
    from ops.read_models import serve_projector_role

    uvloop.run(serve_projector_role(settings, on_step))


def run_relay(settings: Settings, *, on_step: Callable[[str], None] = lambda _step: None) -> None:
    """Carry the event store's log to Kafka until SIGTERM; `on_step` is for tests that kill it between two steps."""
    from ops.relay_role import serve_relay_role

    uvloop.run(serve_relay_role(settings, on_step))


def run_dispatcher(settings: Settings, *, on_step: Callable[[str], None] = lambda _step: None) -> None:
    """See commands to their sockets until SIGTERM; `on_step` is for tests that kill it between two steps."""
    from ops.dispatcher_role import serve_dispatcher_role

    uvloop.run(serve_dispatcher_role(settings, on_step))


def run_api(settings: Settings) -> None:
    """Answer people and programs until SIGTERM."""
    from ops.api_role import serve_api_role

    uvloop.run(serve_api_role(settings))


ROLES: dict[str, Callable[[Settings], None]] = {
    "api": run_api,
    "bridge": run_bridge,
    "broker-accounts": run_broker_accounts,
    "device-auth": run_device_auth,
    "dispatcher": run_dispatcher,
    "projector": run_projector,
    "relay": run_relay,
}
