"""Passwords: what may be one, and argon2id with 19 MiB, two passes, one lane (OWASP's minimum).

Rules as ASVS 5.0 has them (6.2): 8 characters at least, no rules of composition, nothing cut off,
none of the common ones, not the user's own address.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_CHARACTERS = 8
MAX_BYTES = 1024
# Each hash in work holds 19 MiB: a container's threads must not hold as many of them.
_AT_ONCE = threading.BoundedSemaphore(4)
_COMMON = Path(__file__).with_name("common_passwords.txt.gz")
# A constant: computed when first needed, it would make the first unknown user of a process slower
# than a known one. Of a random password that nobody has.
DUMMY_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$SfnBMuCZHb/0sf+ZpXnH0Q$d7oe3Z"
    "1H1GitHPH3MjOpv3QUGpzjdRaIuOF8IpSLjUk"
)


@lru_cache(maxsize=1)
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@lru_cache(maxsize=1)
def common_passwords() -> tuple[str, ...]:
    """Return the common passwords of 8 characters and more, lower case, most frequent first."""
    import gzip

    lines = gzip.decompress(_COMMON.read_bytes()).decode().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


@lru_cache(maxsize=1)
def _common_set() -> frozenset[str]:
    return frozenset(common_passwords())


def password_fault(password: str, email: str) -> str | None:
    """Return why ``password`` may not be the password of ``email``, or None if it may."""
    if len(password) < MIN_CHARACTERS:
        return f"use at least {MIN_CHARACTERS} characters"
    if _size(password) > MAX_BYTES:
        return f"use at most {MAX_BYTES} bytes of UTF-8"
    folded = password.casefold()
    if folded in _common_set():
        return "this is one of the most common passwords"
    address = email.strip().casefold()
    if folded in {address, address.partition("@")[0]}:
        return "use something else than your e-mail address"
    return None


def hash_password(password: str) -> str:
    """Return the encoded hash, parameters included."""
    with _AT_ONCE:
        return _hasher().hash(password)


def verify_password(stored_hash: str | None, password: str) -> bool:
    """Return whether ``password`` fits; an unknown user (None) costs the same time."""
    from argon2.exceptions import InvalidHashError, VerificationError

    if _size(password) > MAX_BYTES:
        stored_hash, password = None, ""
    try:
        with _AT_ONCE:
            fits = _hasher().verify(stored_hash or DUMMY_HASH, password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(fits) and stored_hash is not None


def needs_rehash(stored_hash: str) -> bool:
    """Return whether the hash was made with other parameters than today's."""
    return _hasher().check_needs_rehash(stored_hash)


def _size(password: str) -> float:
    try:
        return len(password.encode())
    except UnicodeEncodeError:  # a lone surrogate: no text, so no password
        return math.inf
