"""The first start fetches Kafka: it says what, how much, from where and whereto, and shows how far it is; later ones
say nothing.

A small Maven repository on loopback stands in the place of the real one; all else is as it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from domain.errors import SettingInvalid
from ops import preflight
from ops.embedded import jars
from ops.preflight import fetch_kafka

ENGINE, LOGGER = b"engine" * 20_000, b"logger" * 5_000
TOTAL_BYTES = len(ENGINE) + len(LOGGER)
_POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>org.example</groupId><artifactId>{name}</artifactId><version>1.0</version>
<dependencies>{dependencies}</dependencies></project>"""
_DEPENDENCY = (
    "<dependency><groupId>org.example</groupId><artifactId>{name}</artifactId><version>1.0</version></dependency>"
)


class Repository(SimpleHTTPRequestHandler):
    """A folder, laid out as Maven Central is."""

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def publish(folder: Path, name: str, jar: bytes, *needs: str) -> None:
    place = folder / "org" / "example" / name / "1.0"
    place.mkdir(parents=True)
    dependencies = "".join(_DEPENDENCY.format(name=one) for one in needs)
    (place / f"{name}-1.0.pom").write_text(_POM.format(name=name, dependencies=dependencies))
    (place / f"{name}-1.0.jar").write_bytes(jar)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the jars are to be kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return jars.cache_dir()


@pytest.fixture
def central(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A repository that has two jars, of which one needs the other; what is to be fetched is the one."""
    folder = tmp_path / "central"
    publish(folder, "engine", ENGINE, "logger")
    publish(folder, "logger", LOGGER)
    hashes = {"engine-1.0.jar": hashlib.sha256(ENGINE), "logger-1.0.jar": hashlib.sha256(LOGGER)}
    known = {name: digest.hexdigest() for name, digest in hashes.items()}
    for module in (jars, preflight):
        monkeypatch.setattr(module, "known_hashes", lambda: known)
    monkeypatch.setattr(jars, "COORDINATES", ("org.example:engine:1.0!",))
    monkeypatch.setattr(preflight, "DOWNLOAD_BYTES", TOTAL_BYTES)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Repository, directory=str(folder))) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("jgo.maven._core.DEFAULT_REMOTE_REPOS", {"central": url})
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sentences(said: StringIO) -> list[str]:
    """What stands in a log file; a bar that is not shown leaves an empty line there."""
    return [line for line in said.getvalue().splitlines() if line]


def a_terminal() -> tuple[Console, StringIO]:
    said = StringIO()
    return Console(file=said, force_terminal=True, width=120, color_system=None), said


@pytest.mark.usefixtures("central")
def test_the_first_start_says_what_it_fetches_and_whereto(cache: Path) -> None:
    said = StringIO()
    fetch_kafka(Console(file=said, width=40))
    assert sentences(said) == [
        f"First start: fetching Apache Kafka {jars.KAFKA_VERSION} (2 jars, 0 MB) from Maven Central into {cache}",
        "Fetched; later starts need no network.",
    ]
    assert (cache / "engine-1.0.jar").read_bytes() == ENGINE
    assert (cache / "logger-1.0.jar").read_bytes() == LOGGER


def test_the_real_download_is_named_by_its_number_of_jars_and_its_size(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 of loopback (discard) refuses: as good as no network, without waiting for one.
    monkeypatch.setattr("jgo.maven._core.DEFAULT_REMOTE_REPOS", {"central": "http://127.0.0.1:9"})
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    said = StringIO()
    with pytest.raises(SettingInvalid, match="connect to the internet for the first start"):
        fetch_kafka(Console(file=said, width=40))
    assert sentences(said) == [
        f"First start: fetching Apache Kafka {jars.KAFKA_VERSION} ({len(jars.known_hashes())} jars, 45 MB)"
        f" from Maven Central into {cache}"
    ]


@pytest.mark.usefixtures("central")
def test_a_terminal_shows_how_far_the_download_is_until_all_is_there() -> None:
    console, said = a_terminal()
    fetch_kafka(console)
    shown = [float(done) for done in re.findall(r"([\d.]+)/150\.0 kB", said.getvalue())]
    assert shown[0] == 0
    assert shown == sorted(shown)
    assert shown[-1] >= TOTAL_BYTES / 1000
    assert re.search(r"(engine|logger)-1\.0\.jar", said.getvalue())


def test_later_starts_say_nothing_and_ask_nobody(central: ThreadingHTTPServer) -> None:
    fetch_kafka(Console(file=StringIO()))
    central.socket.close()
    console, said = a_terminal()
    fetch_kafka(console)
    assert said.getvalue() == ""


def test_a_fetch_that_fails_shows_the_cursor_again_and_claims_nothing(
    central: ThreadingHTTPServer, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "central" / "org" / "example" / "logger" / "1.0" / "logger-1.0.jar").write_bytes(b"forged")
    console, said = a_terminal()
    with pytest.raises(SettingInvalid, match=r"logger-1\.0\.jar is not the file that is known by this name"):
        fetch_kafka(console)
    assert "Fetched" not in said.getvalue()
    assert said.getvalue().rindex("\x1b[?25h") > said.getvalue().rindex("\x1b[?25l")
    assert jars.class_path(cache) is None
