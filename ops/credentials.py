"""Who may connect to the MQTT broker: secrets of our own roles, made once in the data dir."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from domain.errors import SettingInvalid

_SECRET_BYTES = 32


def bridge_password(data_dir: Path) -> str:
    """The bridge's MQTT password at the embedded broker; made at the first call."""
    return stored_secret(data_dir / "bridge.secret")


def dispatcher_password(data_dir: Path) -> str:
    """The dispatcher's MQTT password at the embedded broker; made at the first call."""
    return stored_secret(data_dir / "dispatcher.secret")


def stored_secret(path: Path) -> str:
    """The 64 hex digits in a file that only its owner may read; made at the first call.

    Several processes may ask at once: one file wins, all get its content.
    """
    try:
        if not path.exists():
            _write_once(path, secrets.token_hex(_SECRET_BYTES))
        content = path.read_text(encoding="ascii").strip()
        if len(bytes.fromhex(content)) == _SECRET_BYTES:
            return content
    except OSError as error:
        raise SettingInvalid(f"WATTAWAY_DATA_DIR: cannot keep a secret in {path}: {error.strerror}") from error
    except ValueError:
        pass
    raise SettingInvalid(
        f"WATTAWAY_DATA_DIR: {path} does not hold {2 * _SECRET_BYTES} hex digits; restore or delete it"
    )


def _write_once(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
