"""Tokens of devices, programs and invitations: 256 random bits, shown once, kept as hashes only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import NamedTuple

TOKEN_BYTES = 32
TOKEN_LENGTH = 2 * TOKEN_BYTES
API_TOKEN_PREFIX = "wat_"  # noqa: S105 - lets scanners of leaked secrets know ours
INVITATION_PREFIX = "wai_"

# Hashes slow down guessing what somebody made up. A token is 256 random bits: nobody guesses it, and ten thousand
# devices that reconnect at once pay for each round. Hence the fewest rounds Mosquitto takes.
_ROUNDS = 1
_SALT_BYTES = 12
_HASH_BYTES = 64


class TokenHashes(NamedTuple):
    """What is kept of a device's token: for HTTP, and as the line of Mosquitto's password file."""

    token_sha256: str
    broker_hash: str


def new_token(prefix: str = "") -> str:
    """64 hex digits that nobody guesses; a device's has no prefix."""
    return prefix + secrets.token_hex(TOKEN_BYTES)


def token_sha256(token: str) -> str:
    """What a token is looked up by."""
    return hashlib.sha256(token.encode()).hexdigest()


def device_token_hashes(token: str) -> TokenHashes:
    """Both hashes of a device's token."""
    return TokenHashes(token_sha256(token), broker_hash(token))


def broker_hash(password: str) -> str:
    """A password as Mosquitto 2 keeps it: `$7$rounds$salt$hash`.

    Source: mosquitto_passwd(1); PBKDF2 with SHA-512, base64.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${_derive(password, salt, _ROUNDS)}"


def matches_broker_hash(password: str, expected: str) -> bool:
    """Whether this is the password of such a hash; False for anything that is no such hash."""
    try:
        _, scheme, rounds, salt, derived = expected.split("$")
        if scheme != "7":
            return False
        return hmac.compare_digest(_derive(password, base64.b64decode(salt), int(rounds)), derived)
    except ValueError:
        return False


def _derive(password: str, salt: bytes, rounds: int) -> str:
    return base64.b64encode(hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds, _HASH_BYTES)).decode()
