"""Who is calling: a person with a JWT or an application with an API key.

Runs before every route (``create_app``). Lookups are cached at most ``credential_ttl_s`` seconds
per process, so a revoked key or a logout takes effect within that time everywhere.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request

from shared.auth import api_keys, store
from shared.auth.access import ACCESS, ROLES, Access, admits_role, admits_scopes
from shared.auth.tokens import AccessClaims, verify_access_token
from shared.config import Settings, get_settings
from shared.db.engine import get_engine, single_statement
from shared.errors import ForbiddenError, UnauthenticatedError
from shared.kit.ids import KEY, USER, to_text
from shared.schemas.common import Role

_MAX_CACHED_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller; ``id`` is ``usr_...`` or ``key_...``."""

    id: str
    name: str
    role: Role | None = None
    scopes: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    claims: AccessClaims | None = None


@dataclass(slots=True)
class _Cache:
    keys: dict[bytes, tuple[float, Caller]] = field(default_factory=dict)
    revoked: set[UUID] = field(default_factory=set)
    revoked_until: float = 0.0


_cache = _Cache()


def forget_cached_credentials() -> None:
    """Drop the caches, so that the next request sees the database as it is."""
    _cache.keys.clear()
    _cache.revoked_until = 0.0


async def authorize(request: Request) -> None:
    """Identify the caller and refuse what the access table does not grant.

    Raises
    ------
    UnauthenticatedError
        Without valid credentials (401).
    ForbiddenError
        With valid credentials that are not enough (403); names what is missing.
    """
    access = ACCESS[request.scope["route"].operation_id]
    if access.public:
        return
    settings = get_settings()
    if access.scrape:
        _authorize_scrape(request, settings)
        return
    caller = _identify(request, settings)
    _require(access, caller)
    request.state.caller = caller


async def current_caller(request: Request) -> Caller:
    """Return the caller that ``authorize`` let in."""
    return cast("Caller", request.state.caller)


CurrentCaller = Annotated[Caller, Depends(current_caller)]


def _identify(request: Request, settings: Settings) -> Caller:
    kind, _, credential = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not credential:
        credential = request.headers.get("x-api-key", "")
    credential = credential.strip()
    if not credential:
        raise UnauthenticatedError(
            "Send 'Authorization: Bearer <access token or API key>' or 'x-api-key: <API key>'."
        )
    if credential.startswith(api_keys.PREFIX):
        return _identify_key(credential, settings)
    return _identify_person(credential, settings)


def _identify_key(key: str, settings: Settings) -> Caller:
    invalid = UnauthenticatedError("The API key is unknown, revoked or expired.")
    if not api_keys.is_well_formed(key):
        raise UnauthenticatedError("The API key is mistyped: its checksum does not fit.")
    secret_hash = api_keys.hash_key(key)
    now = time.monotonic()
    cached = _cache.keys.get(secret_hash)
    if cached is not None and cached[0] > now:
        return cached[1]
    _cache.keys.pop(secret_hash, None)
    with single_statement(get_engine()) as connection:
        row = store.find_api_key(connection, secret_hash)
    if row is None:
        raise invalid
    caller = Caller(to_text(KEY, row.id), row.name, None, frozenset(row.scopes), row.labels)
    if len(_cache.keys) >= _MAX_CACHED_KEYS:
        _cache.keys.clear()
    _cache.keys[secret_hash] = (now + settings.credential_ttl_s, caller)
    return caller


def _identify_person(token: str, settings: Settings) -> Caller:
    claims = verify_access_token(settings, token)
    now = time.monotonic()
    if _cache.revoked_until <= now:
        with single_statement(get_engine()) as connection:
            _cache.revoked = store.list_revoked_families(
                connection, settings.access_token_ttl_s + 120
            )
        _cache.revoked_until = now + settings.credential_ttl_s
    if claims.family_id in _cache.revoked:
        raise UnauthenticatedError("This session has ended. Log in again.")
    return Caller(to_text(USER, claims.user_id), claims.email, claims.role, claims=claims)


def _require(access: Access, caller: Caller) -> None:
    if caller.role is not None:
        if not admits_role(access, caller.role):
            raise ForbiddenError(
                f"This needs {access.role or 'an API key'}; you are {caller.role}."
            )
    elif not admits_scopes(access, caller.scopes):
        needed = f"the scope {access.scope!r}" if access.scope else "a person's login"
        raise ForbiddenError(f"This needs {needed}; the key has {sorted(caller.scopes)}.")


def _authorize_scrape(request: Request, settings: Settings) -> None:
    if request.client is not None and request.client.host in {"127.0.0.1", "::1"}:
        return
    expected = settings.metrics_token.get_secret_value()
    given = request.headers.get("authorization", "").partition(" ")[2]
    if not expected or not secrets.compare_digest(given.encode(), expected.encode()):
        raise UnauthenticatedError("Send the scrape token as a bearer token.")
