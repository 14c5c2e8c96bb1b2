"""Who signs firmware: RSA keys of 3072 bits (PKCS#1 v1.5, SHA-256), as sockets check them.

Source: firmware_mpy/rsa_verify.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from domain.errors import InvalidInput

KEY_BITS, EXPONENT = 3072, 65537
_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class TrustedKey(NamedTuple):
    """A key whose signatures count; its fingerprint is the SHA-256 of its DER (SubjectPublicKeyInfo), in hex."""

    fingerprint: str
    key: RSAPublicKey


def new_private_key() -> RSAPrivateKey:
    """A key of its own for somebody who signs."""
    return generate_private_key(EXPONENT, KEY_BITS)


def private_pem(key: RSAPrivateKey) -> bytes:
    """The key for a file that nobody else may read."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: RSAPrivateKey) -> bytes:
    """What the server trusts."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def modulus(key: RSAPrivateKey) -> bytes:
    """What a board trusts: its file `update_key.bin`, 384 bytes, big-endian."""
    return key.public_key().public_numbers().n.to_bytes(KEY_BITS // 8, "big")


def read_private_key(pem: bytes) -> RSAPrivateKey:
    """The key in a PEM file.

    Raises:
        InvalidInput: there is none that sockets could check.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise InvalidInput("key", "this private key is encrypted: decrypt it first") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput("key", "this is no private key in PEM") from None
    if not isinstance(key, RSAPrivateKey):
        raise InvalidInput("key", "this is no RSA key")
    _check(key.public_key())
    return key


def read_public_keys(pem: bytes) -> tuple[TrustedKey, ...]:
    """All public keys in a PEM file.

    Raises:
        InvalidInput: there is none, or one that no socket can check.
    """
    found = _PUBLIC.findall(pem)
    if not found:
        raise InvalidInput("key", "there is no `BEGIN PUBLIC KEY`")
    return tuple(_trusted(one) for one in found)


def _trusted(pem: bytes) -> TrustedKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput("key", "this is no public key in PEM") from None
    if not isinstance(key, RSAPublicKey):
        raise InvalidInput("key", "this is no RSA key")
    _check(key)
    return TrustedKey(fingerprint(key), key)


def fingerprint(key: RSAPublicKey) -> str:
    """What names a key."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign(key: RSAPrivateKey, signed: bytes) -> bytes:
    """The signature of an image's head."""
    return key.sign(signed, padding.PKCS1v15(), SHA256())


def signer_of(signed: bytes, signature: bytes, keys: Iterable[TrustedKey]) -> TrustedKey | None:
    """Whose signature this is; None if it is none of theirs."""
    for one in keys:
        try:
            one.key.verify(signature, signed, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            continue
        return one
    return None


def _check(key: RSAPublicKey) -> None:
    if key.key_size != KEY_BITS or key.public_numbers().e != EXPONENT:
        raise InvalidInput("key", f"sockets check RSA keys of {KEY_BITS} bits with exponent {EXPONENT}, no others")
