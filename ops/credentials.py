"""Who may connect to the MQTT broker: secrets made once in the data dir, and the device tokens derived from them."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from domain.errors import SettingInvalid

_SECRET_BYTES = 32


def fleet_secret(data_dir: Path) -> bytes:
    """The secret every device token is derived from; made at the first call.

    Raises:
        SettingInvalid: the data dir cannot be written, or the file holds something else.
    """
    return bytes.fromhex(stored_secret(data_dir / "fleet.secret"))


def device_token(secret: bytes, device_id: str) -> str:
    """A device's MQTT password: 64 hex digits, HMAC-SHA256 of its id under the fleet secret.

    Source: docs/adr/0006-device-tokens-are-derived-until-accounts-exist.md.
    """
    return hmac.new(secret, device_id.encode(), hashlib.sha256).hexdigest()


def bridge_password(data_dir: Path) -> str:
    """The bridge's MQTT password at the embedded broker; made at the first call."""
    return stored_secret(data_dir / "bridge.secret")


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
