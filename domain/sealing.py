"""Sealing of personal texts, so that deleting a key forgets them wherever they stand: AES-256-GCM."""

from __future__ import annotations

import base64
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import SealBroken

_VERSION = b"\x01"
_NONCE_BYTES = 12


def seal(key: bytes, text: str, context: str) -> str:
    """The text, readable only with the key and the same context.

    Args:
        key: 32 bytes.
        context: what it is and whose (`user:{id}/email`), so that nobody passes one sealed text off as another.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    box = AESGCM(key).encrypt(nonce, text.encode(), context.encode())
    return base64.urlsafe_b64encode(_VERSION + nonce + box).decode().rstrip("=")


def open_sealed(key: bytes, sealed: str, context: str) -> str:
    """The text in it.

    Raises:
        SealBroken: another key, another context, or it was changed.
    """
    try:
        raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        if raw[:1] != _VERSION:
            raise ValueError("unknown version")
        nonce, box = raw[1 : 1 + _NONCE_BYTES], raw[1 + _NONCE_BYTES :]
        return AESGCM(key).decrypt(nonce, box, context.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise SealBroken(f"a sealed text of {context!r} cannot be opened") from error
