"""The one-time code that lets the first user in: shown by `wattaway up`, kept as a hash, gone after that sign-up."""

from __future__ import annotations

import fcntl
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from domain.errors import SettingInvalid
from domain.lifecycle.tokens import new_token, token_sha256
from ops.stack.private_files import write_private

_FILE = "set-up.code"


def new_set_up_code(data_dir: Path) -> str:
    """A code that from now on is the only one.

    Raises:
        SettingInvalid: the data dir cannot be written.
    """
    code = new_token()
    try:
        write_private(data_dir / _FILE, token_sha256(code) + "\n")
    except OSError as error:
        raise SettingInvalid(f"WATTAWAY_DATA_DIR: cannot keep the set-up code: {error.strerror}") from error
    return code


@contextmanager
def held_set_up_code(data_dir: Path, code: str) -> Iterator[bool]:
    """Whether this is the code. It is used up once the block has ended well, and stays good if the block fails.

    Of several who show it at once, in whatever processes, one after the other gets to hold it. Blocks.
    """
    path = data_dir / _FILE
    try:
        file = path.open(encoding="ascii")
    except FileNotFoundError:
        yield False
        return
    with file:
        if not _holds(file, code):
            yield False
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        # Whoever held it before may have used it up, and then this is no longer the file of that name.
        is_good = _is_at(file, path)
        yield is_good
        if is_good:
            path.unlink(missing_ok=True)


def _holds(file: TextIO, code: str) -> bool:
    try:
        return hmac.compare_digest(file.read().strip(), token_sha256(code.strip()))
    except UnicodeError:
        return False


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def drop_set_up_code(data_dir: Path) -> None:
    """From now on no code counts."""
    (data_dir / _FILE).unlink(missing_ok=True)
