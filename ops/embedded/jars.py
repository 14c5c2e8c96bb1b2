"""Kafka's jars: resolved once from pinned Maven coordinates into a cache, each checked against its known SHA-256.

No Maven is needed. Several processes may ask at once: one fetches, the others wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from domain.errors import SettingInvalid

KAFKA_VERSION = "4.4.0"
# "!": without it, log4j's own dependency management would replace kafka-clients 4.4.0 by 3.9.1.
COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}!", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5!")
DOWNLOAD_BYTES = 44591658
_KNOWN_HASHES = Path(__file__).with_name("kafka_jars.sha256")

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Called per file with its name and size in bytes; yields a function that takes the bytes as they come."""


def cache_dir(environment: Mapping[str, str] = os.environ) -> Path:
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return Path(base).absolute() / "wattaway" / f"kafka-{KAFKA_VERSION}"


def class_path(directory: Path) -> str | None:
    """Java's class path of a cache that is complete, else None. Reads one small file."""
    try:
        names = (directory / "complete").read_text(encoding="utf-8").split()
    except OSError:
        return None
    if names != list(known_hashes()):
        return None
    return os.pathsep.join(str(directory / name) for name in names)


def known_hashes() -> dict[str, str]:
    """Jar name → SHA-256, in the order of the class path."""
    lines = _KNOWN_HASHES.read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def fetch_jars(directory: Path, progress: Progress | None = None) -> str:
    """The class path, after fetching what is missing.

    Raises:
        SettingInvalid: no network, no space, or a file that is not the one we know; one line with what to do.
    """
    if os.pathsep in str(directory):
        raise SettingInvalid(f"XDG_CACHE_HOME: Java takes no jars from {directory}, as it has a {os.pathsep!r} in it")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory / "lock"):
            if (complete := class_path(directory)) is not None:
                return complete
            _fetch(directory, progress)
    except OSError as error:
        raise _cannot_fetch(directory, f"{type(error).__name__}: {error}") from error
    found = class_path(directory)
    assert found is not None
    return found


def _fetch(directory: Path, progress: Progress | None) -> None:
    hashes = known_hashes()
    repository = directory / "maven"
    _forget_broken_files(repository, hashes)
    try:
        jars = {jar.name: jar for jar in _resolve(repository, progress)}
    except (RuntimeError, ValueError, SyntaxError) as error:
        raise _cannot_fetch(directory, str(error)) from error
    for name, digest in hashes.items():
        if name not in jars or _sha256(jars[name]) != digest:
            raise _cannot_fetch(directory, f"the repository's {name} is not the file that is known by this name")
    for name in hashes:
        jars[name].replace(directory / name)
    draft = directory / "complete.draft"
    draft.write_text("\n".join(hashes), encoding="utf-8")
    draft.replace(directory / "complete")
    shutil.rmtree(repository)


def _resolve(repository: Path, progress: Progress | None) -> Iterator[Path]:
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(PythonResolver(progress_callback=progress), repo_cache=repository, timeout=30)
    dependencies = [context.create_dependency(coordinate) for coordinate in COORDINATES]
    inputs, transitive = context.resolver.resolve(dependencies)
    for dependency in (*inputs, *transitive):
        yield dependency.artifact.resolve()


def _forget_broken_files(repository: Path, hashes: Mapping[str, str]) -> None:
    """Delete what an interrupted fetch may have left half written: descriptions, and jars with a wrong hash."""
    for path in repository.rglob("*"):
        if path.is_file() and (path.suffix != ".jar" or hashes.get(path.name) != _sha256(path)):
            path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cannot_fetch(directory: Path, why: str) -> SettingInvalid:
    return SettingInvalid(
        f"Kafka's jars are not in {directory} yet and cannot be fetched ({why[:300]}); "
        "connect to the internet for the first start, or copy that folder from another machine"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
