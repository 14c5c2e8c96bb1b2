"""Secrets from files: never from the command line, which others can read."""

from __future__ import annotations

from pathlib import Path

from domain.errors import SettingInvalid


def secret_in(path: Path, option: str) -> str:
    """The first line of a file.

    Args:
        option: which named the file.

    Raises:
        SettingInvalid: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeError) as error:
        raise SettingInvalid(f"{option}: {path} cannot be read: {error}") from error
