"""API keys: ``dv_<environment>_`` + 30 base62 characters (178 bits) + 6 of CRC32.

The checksum rejects typing errors without a query and lets secret scanners confirm a find. Only
the SHA-256 of a key is stored: at this entropy a slow hash adds nothing (ASVS 6.5.2).
"""

from __future__ import annotations

import hashlib
import secrets
import zlib

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 30
_CHECKSUM_LENGTH = 6
PREFIX = "dv_"
# For secret scanners. A find that ``is_well_formed`` is a key for certain (one in 2^32 is not).
KEY_PATTERN = r"(?<![0-9A-Za-z_])dv_(?:local|dev|staging|prod)_[0-9A-Za-z]{36}(?![0-9A-Za-z_])"


def generate_key(environment: str) -> str:
    """Return a new secret key; shown once, never stored."""
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    body = f"{PREFIX}{environment}_{random}"
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Return whether ``key`` has the layout and its checksum fits; says nothing of its validity."""
    parts = key.split("_")
    if len(parts) != 3 or parts[0] != "dv" or not parts[1].isalnum() or not key.isascii():
        return False
    if len(parts[2]) != _RANDOM_LENGTH + _CHECKSUM_LENGTH or not parts[2].isalnum():
        return False
    body, checksum = key[:-_CHECKSUM_LENGTH], key[-_CHECKSUM_LENGTH:]
    return secrets.compare_digest(checksum, _checksum(body))


def hash_key(key: str) -> bytes:
    """Return what is stored of a key and looked up by."""
    return hashlib.sha256(key.encode()).digest()


def visible_prefix(key: str) -> str:
    """Return the part that lists may show: enough to recognise, far too little to guess."""
    head, environment, random = key.split("_")
    return f"{head}_{environment}_{random[:4]}"


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, 62)
        digits = _ALPHABET[digit] + digits
    return digits
