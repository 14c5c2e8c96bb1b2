"""The API as a role: what the settings say, as plain arguments."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import structlog

from api.app import create_app
from api.asyncapi import Brokers
from api.protection import Protection
from api.server import Certificate, serve
from domain.errors import DependencyUnavailable, SettingInvalid
from ops.application import open_application
from ops.embedded.kafka import kafka_answers
from ops.embedded.ports import is_loopback, is_open
from ops.set_up_code import held_set_up_code
from ops.settings import Settings, listed
from ops.wiring import spare_the_collector, stop_on_signals

log = structlog.get_logger()

_PROBE_S = 1.0


async def serve_api_role(settings: Settings) -> None:
    """Answer people and programs until SIGTERM."""
    with open_application(settings) as application:
        app = create_app(
            database_url=settings.resolved_database_url(),
            redis_url=settings.resolved_redis_url(),
            redis_prefix=settings.redis_prefix,
            application=application,
            time_zone=settings.time_zone,
            offline_after_s=settings.offline_after_s,
            brokers=Brokers(
                settings.kafka_bootstrap.split(",")[0],
                f"{settings.mqtt_host}:{settings.mqtt_port}",
                settings.kafka_topic_prefix,
            ),
            metrics_sources=settings.resolved_metrics_sources(),
            protection=protection_of(settings),
            probes={"kafka": partial(_probe_kafka, settings), "mqtt": partial(_probe_mqtt, settings)},
        )
        spare_the_collector()
        await serve(
            app,
            host=settings.api_host,
            port=settings.api_port,
            stop=stop_on_signals(),
            certificate=certificate_of(settings),
            trusted_proxies=listed(settings.trusted_proxies),
        )


def protection_of(settings: Settings) -> Protection:
    """Who gets in and how often anybody may ask, by the settings."""
    return Protection(
        sign_up=settings.sign_up,
        rate_limits={
            "tokens": settings.rate_limit_tokens,
            "users": settings.rate_limit_users,
            "devices": settings.rate_limit_devices,
            "strangers": settings.rate_limit_strangers,
            "sign-in": settings.rate_limit_sign_in,
            "sign-up": settings.rate_limit_sign_up,
            "set-up": settings.rate_limit_set_up,
        },
        cors_origins=listed(settings.cors_origins),
        hold_set_up_code=partial(held_set_up_code, settings.data_dir),
    )


def certificate_of(settings: Settings) -> Certificate | None:
    """What TLS shows; without one, say so where others may listen.

    Raises:
        SettingInvalid: a certificate without its key, or a key alone.
    """
    chain, key = settings.api_tls_certificate, settings.api_tls_key
    if bool(chain) != bool(key):
        raise SettingInvalid("WATTAWAY_API_TLS_CERTIFICATE, WATTAWAY_API_TLS_KEY: set both or none")
    if chain:
        return Certificate(Path(chain), Path(key))
    if not is_loopback(settings.api_host) and not settings.trusted_proxies:
        log.warning("passwords and tokens go in clear over the network: set a certificate", host=settings.api_host)
    return None


async def _probe_kafka(settings: Settings) -> str:
    for broker in settings.kafka_bootstrap.split(","):
        host, _, port = broker.strip().rpartition(":")
        if await asyncio.to_thread(kafka_answers, (host, int(port)), _PROBE_S):
            return f"{host}:{port} answers"
    raise DependencyUnavailable("kafka", f"none of {settings.kafka_bootstrap} answers")


async def _probe_mqtt(settings: Settings) -> str:
    # A CONNECT would need credentials and leave a trace in the broker's log every time.
    if not await asyncio.to_thread(is_open, (settings.mqtt_host, settings.mqtt_port), _PROBE_S):
        raise DependencyUnavailable("mqtt", f"{settings.mqtt_host}:{settings.mqtt_port} does not answer")
    return f"{settings.mqtt_host}:{settings.mqtt_port} is open"
