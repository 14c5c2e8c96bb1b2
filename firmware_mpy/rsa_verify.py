"""Checks RSA-3072 signatures (PKCS#1 v1.5, SHA-256) with whole numbers alone; the public exponent is 65537.

The padding is built and compared as a whole, never parsed: what merely looks like padding is no signature.
Source: RFC 8017, sections 8.2.2 and 9.2.
"""

SIGNATURE_SIZE = 384
_DIGEST_INFO = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"


def is_signed(digest: bytes, signature: bytes, modulus: bytes) -> bool:
    """Say whether `signature` is that of a SHA-256 `digest` by the key with `modulus` (both 384 bytes, big-endian)."""
    if len(signature) != SIGNATURE_SIZE or len(modulus) != SIGNATURE_SIZE or len(digest) != 32:
        return False
    number, divisor = int.from_bytes(signature, "big"), int.from_bytes(modulus, "big")
    if not modulus[0] & 0x80 or number >= divisor:
        return False
    power = number
    for _ in range(16):
        power = power * power % divisor
    power = power * number % divisor
    filling = b"\xff" * (SIGNATURE_SIZE - 3 - len(_DIGEST_INFO) - len(digest))
    return power.to_bytes(SIGNATURE_SIZE, "big") == b"\x00\x01" + filling + b"\x00" + _DIGEST_INFO + digest
