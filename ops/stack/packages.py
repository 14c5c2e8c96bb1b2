"""Installs the servers that are missing, with apt, without starting or changing anything else on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from domain.errors import SettingInvalid

# program → the Debian package that brings it
SERVERS = {"mariadbd": "mariadb-server", "redis-server": "redis-server", "mosquitto": "mosquitto"}
BROWSER = {"chromium": "chromium", "chromedriver": "chromium-driver"}

_INSTALL_TIMEOUT_S = 900
_POLICY = Path("/usr/sbin/policy-rc.d")
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def find_program(name: str) -> str:
    """The path of a server's program; servers often stand in `sbin`, outside a user's PATH.

    Raises:
        SettingInvalid: it is not installed.
    """
    path = shutil.which(name, path=_PATH)
    if path is None:
        package = {**SERVERS, **BROWSER}.get(name, name)
        raise SettingInvalid(f"{name} is not installed: install the Debian package {package}")
    return path


def missing_packages(wanted: dict[str, str]) -> list[str]:
    """The Debian packages whose programs are not here."""
    return [package for program, package in wanted.items() if shutil.which(program, path=_PATH) is None]


def install(packages: Sequence[str]) -> None:
    """Install Debian packages; no service is started.

    Raises:
        SettingInvalid: not Debian, not root, or apt says no (with its last words).
    """
    if not packages:
        return
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise SettingInvalid(f"{names} missing, and this is not Debian (no apt-get): install by hand")
    if os.geteuid() != 0:
        raise SettingInvalid(f"{names} missing, and only root may install: sudo apt-get install {names}")
    with _no_service_starts():
        _apt_get("update", "-qq")
        _apt_get("install", "-qq", "--no-install-recommends", *packages)


def _apt_get(*arguments: str) -> None:
    argv = ["apt-get", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": _PATH}
    try:
        subprocess.run(  # noqa: S603
            argv, env=environment, check=True, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        last_words = " ".join((error.stderr or error.stdout or "").strip().splitlines()[-2:])
        raise SettingInvalid(f"apt-get {' '.join(arguments)} failed: {last_words}") from error
    except subprocess.TimeoutExpired as error:
        raise SettingInvalid(f"apt-get {' '.join(arguments)} took longer than {_INSTALL_TIMEOUT_S} s") from error


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """While open, packages being installed start no service (Debian policy 9.3.3.1); leaves no trace."""
    if _POLICY.exists() or _POLICY.is_symlink():
        yield  # The machine has a policy of its own (containers do): it stays.
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
