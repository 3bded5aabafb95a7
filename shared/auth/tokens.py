"""Access tokens: EdDSA JWTs, one pinned algorithm, typed, keyed by ``kid``.

Each key pair is derived from a string of the signing secret (``signing_secret``), so any secret
store that can make random text can make (and rotate) signing keys.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.auth import signing_secret
from shared.auth.access import ROLES
from shared.config import Settings
from shared.errors import UnauthenticatedError
from shared.kit.ids import uuid7
from shared.schemas.common import Role
from shared.secrets import read_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ALGORITHM = "EdDSA"
_TYPE = "at+jwt"
_AUDIENCE = "davinci-api"
_LEEWAY_S = 60
# How often a key that we do not know may make us read the signing secret again.
_REREAD_S = 60.0
_MAX_TOKEN_BYTES = 4_096
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "jti", "fid", "role"]


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid access token says."""

    user_id: UUID
    email: str
    role: Role
    family_id: UUID
    expires_at: int


@dataclass(frozen=True, slots=True)
class _SigningKey:
    kid: str
    private: Ed25519PrivateKey
    public_bytes: bytes


def issue_access_token(
    settings: Settings, *, user_id: UUID, email: str, role: str, family_id: UUID, now: datetime
) -> str:
    """Return a signed token of ``access_token_ttl_s`` seconds."""
    import jwt

    document = read_secret(settings.signing_keys)
    key = _derive(document)[signing_secret.parse(document).signer]
    claims = {
        "iss": settings.issuer,
        "aud": _AUDIENCE,
        "sub": str(user_id),
        "email": email,
        "role": role,
        "fid": str(family_id),
        "jti": uuid7().hex,
        "iat": now,
        "exp": now + timedelta(seconds=settings.access_token_ttl_s),
    }
    headers = {"kid": key.kid, "typ": _TYPE}
    return jwt.encode(claims, key.private, algorithm=_ALGORITHM, headers=headers)


def verify_access_token(settings: Settings, token: str) -> AccessClaims:
    """Return the claims of a token that we signed, for us, that is in force.

    Raises
    ------
    UnauthenticatedError
        For any other token; the reason is not told apart to the caller, but for expiry.
    """
    import jwt

    invalid = UnauthenticatedError("The access token is not valid. Log in again.")
    if len(token) > _MAX_TOKEN_BYTES:
        raise invalid
    try:
        header = jwt.get_unverified_header(token)
        # PyJWT does not look at typ: a refresh or id token must never pass as an access token.
        if header.get("typ") != _TYPE or header.get("alg") != _ALGORITHM or "crit" in header:
            raise invalid
        key = _key_named(settings, header.get("kid"))
        claims: dict[str, Any] = jwt.decode(
            token,
            key.private.public_key(),
            algorithms=[_ALGORITHM],
            issuer=settings.issuer,
            audience=_AUDIENCE,
            leeway=_LEEWAY_S,
            options={"require": _REQUIRED, "strict_aud": True},
        )
        return AccessClaims(
            UUID(claims["sub"]), str(claims.get("email", "")),
            next(role for role in ROLES if role == claims["role"]),
            UUID(claims["fid"]), int(claims["exp"]),
        )  # fmt: skip
    except jwt.ExpiredSignatureError as error:
        raise UnauthenticatedError("The access token has expired. Refresh it.") from error
    except (
        jwt.PyJWTError, StopIteration, ValueError, TypeError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise invalid from error


def public_jwks(settings: Settings) -> dict[str, list[dict[str, str]]]:
    """Return the public keys (RFC 7517), newest first, also before it signs; two once rotated."""
    return {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "use": "sig",
                "alg": _ALGORITHM,
                "kid": key.kid,
                "x": urlsafe_b64encode(key.public_bytes).rstrip(b"=").decode(),
            }
            for key in _derive(read_secret(settings.signing_keys))
        ]
    }


def derived_key(settings: Settings, purpose: str) -> bytes:
    """Return 32 bytes bound to ``purpose``, derived from the string that signs."""
    return derived_keys(settings, purpose)[0]


def derived_keys(settings: Settings, purpose: str) -> tuple[bytes, ...]:
    """Return the keys for ``purpose`` that verify, the one that signs first."""
    document = read_secret(settings.signing_keys)
    keys = _keys_for(document, purpose)
    return keys[::-1] if signing_secret.parse(document).signer else keys


# Several are used for every decision. Purposes are names in the code, so few.
@lru_cache(maxsize=64)
def _keys_for(document: str, purpose: str) -> tuple[bytes, ...]:
    label = f"davinci/{purpose}".encode()
    strings = signing_secret.parse(document).strings
    return tuple(hmac.digest(text.encode(), label, "sha256") for text in strings)


def _key_named(settings: Settings, kid: object) -> _SigningKey:
    """Return the key that a token names; of one that we do not know, look whether it is new.

    Raises
    ------
    StopIteration
        If nobody of ours signs with it.
    """
    for key in _derive(read_secret(settings.signing_keys)):
        if key.kid == kid:
            return key
    # A rotation at once, after a leak: other processes sign with what we have not read yet.
    document = read_secret(settings.signing_keys, max_age_s=_REREAD_S)
    return next(key for key in _derive(document) if key.kid == kid)


@lru_cache(maxsize=4)
def _derive(document: str) -> tuple[_SigningKey, ...]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    keys = []
    for text in signing_secret.parse(document).strings:
        seed = hmac.digest(text.encode(), b"davinci/jwt-ed25519", "sha256")
        private = Ed25519PrivateKey.from_private_bytes(seed)
        public = private.public_key().public_bytes_raw()
        keys.append(_SigningKey(hashlib.sha256(public).hexdigest()[:16], private, public))
    return tuple(keys)
