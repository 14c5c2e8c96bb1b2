"""Runs esptool, which talks to the chip's own boot loader. It is GPL: a program of its own, never imported.

Its progress goes to the terminal as it comes; what it ends with is turned into one line.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from domain.errors import SettingInvalid, WattAwayError

CHIP = "esp32"
BAUD = 460_800
_FATAL = re.compile(r"A (?:fatal|serial exception) error occurred: ?(.*)")


class FlashingFailed(WattAwayError):
    """esptool could not do it; the message says why and what to do."""


def merge(parts: Sequence[tuple[int, Path]], output: Path) -> None:
    """Put parts of a flash, each with where it begins, together into one file that begins at 0.

    Raises:
        FlashingFailed: esptool refuses one of them.
    """
    line = _line("merge-bin", "--format", "raw", "--output", str(output), *_places(parts))
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 - words of our own
    if done.returncode:
        raise FlashingFailed(_cause(done.stdout + done.stderr))


def write_flash(port: str, image: Path, *, baud: int = BAUD, erase_all: bool = False) -> None:
    """Write an image from address 0 on, and restart the chip.

    Args:
        erase_all: erase what stands behind it, too.

    Raises:
        FlashingFailed: no such port, no permission, no chip, another chip.
    """
    _talk(port, baud, "write-flash", *(["--erase-all"] if erase_all else []), "0x0", str(image))


def verify_flash(port: str, parts: Sequence[tuple[int, Path]], *, baud: int = BAUD) -> None:
    """Compare parts, each with where it begins, with what stands in the flash.

    Raises:
        FlashingFailed: one differs, or as of `write_flash`.
    """
    _talk(port, baud, "verify-flash", *_places(parts))


def _places(parts: Sequence[tuple[int, Path]]) -> list[str]:
    return [word for at, path in parts for word in (hex(at), str(path))]


def _talk(port: str, baud: int, *words: str) -> None:
    line = _line("--port", port, "--baud", str(baud), *words)
    said = bytearray()
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:  # noqa: S603
        assert running.stdout is not None
        while part := running.stdout.read1(4096):  # type: ignore[attr-defined]
            said += part
            sys.stdout.buffer.write(part)
            sys.stdout.flush()
    if running.returncode:
        raise FlashingFailed(_cause(said.decode(errors="replace"), port))


def _line(*words: str) -> list[str]:
    if find_spec("esptool") is None:
        raise SettingInvalid("this needs esptool: pip install 'wattaway[firmware]'")
    return [sys.executable, "-m", "esptool", "--chip", CHIP, *words]


def _cause(said: str, port: str = "") -> str:
    """What went wrong, in one line, by what esptool said."""
    words = " ".join(said.split())
    if "Permission denied" in words:
        return f"no permission to use {port}: join the group that owns it (often dialout), and sign in again"
    if re.search(r"No such file or directory|could not open port|Could not open", words):
        return f"{port} cannot be opened: is the cable in, and is no other program using it?"
    if re.search(r"This chip is|Unexpected chip|wrong chip", words, re.IGNORECASE):
        return f"the chip at {port} is no ESP32"
    if re.search(r"Failed to connect|No serial data received", words):
        return f"no chip answers at {port}: hold its BOOT button while this begins"
    if re.search(r"[Vv]erif\w+ fail|Verification failed", words):
        return "the flash holds something else than this build"
    fatal = _FATAL.search(said)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return fatal[1].strip() if fatal else f"esptool failed: {lines[-1] if lines else 'without a word'}"
