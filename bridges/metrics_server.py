"""Serving a role's metrics to Prometheus, on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from domain.errors import SettingInvalid


@contextmanager
def metrics_served(registry: CollectorRegistry, port: int, setting: str) -> Iterator[None]:
    """Serve these while the context lasts; on no port if it is 0.

    Raises:
        SettingInvalid: the port that `setting` names is in use.
    """
    if port == 0:
        yield
        return
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise SettingInvalid(f"{setting}: 127.0.0.1:{port}: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=1)
