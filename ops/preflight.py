"""What must be true before `wattaway up` starts anything; each complaint is one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from domain.errors import SettingInvalid
from ops.embedded.jars import DOWNLOAD_BYTES, KAFKA_VERSION, cache_dir, class_path, fetch_jars, known_hashes
from ops.embedded.java import find_java
from ops.embedded.ports import LOOPBACK, why_not_free
from ops.settings import METRICS_ROLES, Settings

_LOOPBACK_HOSTS = (LOOPBACK, "localhost")


def embedded_kafka_port(settings: Settings) -> int:
    """The port the embedded Kafka gets.

    Raises:
        SettingInvalid: the settings point at somebody else's Kafka.
    """
    host, _, port = settings.kafka_bootstrap.rpartition(":")
    if host not in _LOOPBACK_HOSTS or not port.isdigit():
        raise _not_ours("WATTAWAY_KAFKA_BOOTSTRAP", settings.kafka_bootstrap)
    return int(port)


def check_embedded(settings: Settings) -> None:
    """Raise `SettingInvalid` if the settings point elsewhere, a port is taken, or there is no Java."""
    if settings.mqtt_host not in _LOOPBACK_HOSTS:
        raise _not_ours("WATTAWAY_MQTT_HOST", settings.mqtt_host)
    if settings.kafka_replication != 1:
        raise SettingInvalid("WATTAWAY_KAFKA_REPLICATION: the embedded Kafka is one node; leave it at 1 for `up`")
    _check_ports(settings)
    find_java()


def _check_ports(settings: Settings) -> None:
    seen: dict[int, str] = {}
    for name, port, host in _ports(settings):
        if port in seen:
            raise SettingInvalid(f"WATTAWAY_{name}: port {port} is also WATTAWAY_{seen[port]}; choose another one")
        seen[port] = name
        if port and (why := why_not_free(port, host)):
            raise SettingInvalid(f"WATTAWAY_{name}: {why}")


def _ports(settings: Settings) -> Iterator[tuple[str, int, str]]:
    yield "MQTT_PORT", settings.mqtt_port, settings.embedded_mqtt_listen
    yield "EMBEDDED_NATS_PORT", settings.embedded_nats_port, LOOPBACK
    yield "KAFKA_BOOTSTRAP", embedded_kafka_port(settings), LOOPBACK
    yield "EMBEDDED_KAFKA_CONTROLLER_PORT", settings.embedded_kafka_controller_port, LOOPBACK
    yield "API_PORT", settings.api_port, settings.api_host
    for name in (f"{role}_metrics_port" for role in METRICS_ROLES):
        if port := getattr(settings, name):
            yield name.upper(), port, settings.metrics_host


def _not_ours(setting: str, value: str) -> SettingInvalid:
    return SettingInvalid(
        f"{setting}: `up` starts its own servers on {LOOPBACK}, but this is {value}; "
        "unset it, or start the roles on your servers one by one with `wattaway run ROLE`"
    )


def fetch_kafka(console: Console) -> None:
    """Fetch Kafka's jars with a progress bar, if they are not there yet."""
    directory = cache_dir()
    if class_path(directory) is not None:
        return
    console.print(
        f"First start: fetching Apache Kafka {KAFKA_VERSION} ({len(known_hashes())} jars, "
        f"{DOWNLOAD_BYTES / 1e6:.0f} MB) from Maven Central into {directory}",
        soft_wrap=True,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        total = progress.add_task("Kafka", total=DOWNLOAD_BYTES)

        @contextmanager
        def file_progress(name: str, _size: int) -> Iterator[Callable[[int], None]]:
            progress.update(total, description=name[:40])
            # The small files that name the jars are not in the total.
            counts = name.endswith(".jar")
            yield lambda count: progress.advance(total, count if counts else 0)

        fetch: Callable[[str, int], AbstractContextManager[Callable[[int], None]]] = file_progress
        fetch_jars(directory, fetch)
    console.print("Fetched; later starts need no network.")
