"""The two roles that tell an MQTT broker who may connect: NATS asks one, Mosquitto reads what the other one writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from bridges.event_store import EventDatabase, SqlApplicationRecorder
from ops.broker_access import BrokerAccess
from ops.service_users import service_users
from ops.settings import Settings
from ops.wiring import event_engines, stop_on_signals

log = structlog.get_logger()


async def serve_device_auth_role(settings: Settings) -> None:
    """Answer the embedded broker until SIGTERM, and end sessions whose token does not count any more."""
    from ops.device_auth import DeviceAuth, Issuer, Policy, connected_to_nats, session_name
    from ops.embedded import nats
    from ops.embedded.nats_sessions import LiveSessions

    stop = stop_on_signals()
    server, services = f"nats://127.0.0.1:{settings.embedded_nats_port}", service_users(settings)
    async with _access(settings) as access:

        def name_of(device_id: str) -> str | None:
            device = access.find(device_id)
            return None if device is None else session_name(device)

        sessions = LiveSessions(nats.FLEET_ACCOUNT, name_of, frozenset(service.name for service in services))
        access.tell(sessions.suspect)
        auth = DeviceAuth(
            Issuer(nats.issuer_key(settings.data_dir), nats.FLEET_ACCOUNT),
            Policy(access.find, services),
            access.refresh,
        )
        system = (server, nats.SYSTEM_USER, nats.system_password(settings.data_dir))
        callout = (server, nats.AUTH_USER, nats.callout_password(settings.data_dir))
        async with (
            connected_to_nats(*system, on_reconnect=sessions.suspect_all) as system_client,
            connected_to_nats(*callout) as callout_client,
            asyncio.TaskGroup() as tasks,
        ):
            keeping = tasks.create_task(sessions.run(system_client))
            await auth.serve(callout_client)
            log.info("device-auth ready")
            await stop.wait()
            keeping.cancel()


async def serve_broker_accounts_role(settings: Settings) -> None:
    """Keep Mosquitto's files until SIGTERM."""
    from ops.broker_accounts import BrokerAccounts
    from ops.stack.mosquitto_accounts import MosquittoAccounts

    stop = stop_on_signals()
    named = (settings.mosquitto_passwords, settings.mosquitto_acl, settings.mosquitto_pid_file)
    if not all(named):
        log.warning(
            "broker-accounts has nothing to do",
            detail="WATTAWAY_MOSQUITTO_PASSWORDS, _ACL and _PID_FILE do not name all of Mosquitto's files",
        )
        await stop.wait()
        return
    passwords, acl, pid_file = map(Path, named)
    address = (settings.mqtt_host, settings.mqtt_port)
    accounts = BrokerAccounts(MosquittoAccounts(passwords, acl), pid_file, address, service_users(settings))
    async with _access(settings) as access:
        access.tell(accounts.changed)
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(accounts.keep(access))
            log.info("broker-accounts ready")
            await stop.wait()
            keeping.cancel()


@asynccontextmanager
async def _access(settings: Settings) -> AsyncIterator[BrokerAccess]:
    """Who may connect, kept up to date until the end of the block."""
    engines = event_engines(settings)
    try:
        access = BrokerAccess(SqlApplicationRecorder(EventDatabase(*engines)))
        await access.begin()
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(access.follow(settings.resolved_redis_url(), settings.redis_prefix))
            yield access
            following.cancel()
    finally:
        for engine in engines:
            engine.dispose()
