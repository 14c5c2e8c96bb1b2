"""Serving a role's metrics to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from domain.errors import SettingInvalid


@contextmanager
def metrics_served(registry: CollectorRegistry, host: str, port: int, setting: str) -> Iterator[None]:
    """Serve these while the context lasts; on no port if it is 0.

    Raises:
        SettingInvalid: the port that `setting` names is in use, or there is no such host here.
    """
    if port == 0:
        yield
        return
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise SettingInvalid(f"WATTAWAY_METRICS_HOST, {setting}: {host}:{port}: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=1)
