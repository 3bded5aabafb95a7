"""Who is calling, and whether they may: a person with a JWT or an application with an API key.

Runs before every route (``create_app``). Lookups are cached at most ``credential_ttl_s`` seconds
per process, so a revoked key or a logout takes effect within that time everywhere. Identifying and
admitting share one connection, which is given back before the route takes one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Literal, cast
from uuid import UUID

import sqlalchemy as sa
from fastapi import Depends, Request

from shared.auth import api_keys, store
from shared.auth.access import ACCESS, Access, admits_role, admits_scopes
from shared.auth.tokens import AccessClaims, verify_access_token
from shared.config import Settings, get_settings
from shared.db.engine import get_engine, single_statement
from shared.errors import ForbiddenError, UnauthenticatedError
from shared.kit.ids import KEY, USER, to_text
from shared.limits import Bucket
from shared.schemas.common import Role
from shared.web.admitting import Admission
from shared.web.negotiation import (
    choose_media_type,
    refuse_repeated_parameters,
    refuse_unknown_parameters,
)

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
    # An API key's own limits; None: the settings' requests a minute, no limit of the others.
    rpm: int | None = None
    tpm: int | None = None
    budget_usd: float | None = None
    budget_window: Literal["day", "month", "total"] | None = None


# Who it is, or the look-up that says so.
_Identity = Caller | Callable[[sa.Connection], Caller]


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
    """Identify the caller, charge the rate limits, refuse what the access table does not grant.

    Raises
    ------
    UnauthenticatedError
        Without valid credentials (401).
    QuotaExceededError
        When a limit is used up (429).
    ForbiddenError
        With valid credentials that are not enough (403); names what is missing.
    NotAcceptableError, InvalidInputError
        If the route has nothing that ``Accept`` admits (406) or does not know a query parameter.
    """
    with request.state.timing.measure("auth"):
        _authorize(request, get_settings())
    route = request.scope["route"]
    request.state.media_type = choose_media_type(request.headers.get("accept"), route.offers)
    # A path that no route takes has no parameters either: it is answered with 404 or 405.
    is_ours = route.operation_id != "system_fallback" and request.scope["path"].startswith("/api/")
    if request.scope["query_string"] and is_ours:
        given = [name for name, _ in request.query_params.multi_items()]
        refuse_unknown_parameters(given, route.query_names)
        refuse_repeated_parameters(given, route.query_lists)


def _authorize(request: Request, settings: Settings) -> None:
    operation: str = request.scope["route"].operation_id
    access = ACCESS[operation]
    if access.scrape:
        _authorize_scrape(request, settings)
    elif access.public:
        if access.per_minute is not None:
            own = Bucket(operation, _address_of(request), access.per_minute, 60)
            request.state.admission = Admission(access, [own])
            request.state.admission.charge()
    else:
        caller = _identify_and_admit(request, access, operation, settings)
        _require(access, caller)
        request.state.caller = caller


async def current_caller(request: Request) -> Caller:
    """Return the caller that ``authorize`` let in."""
    return cast("Caller", request.state.caller)


CurrentCaller = Annotated[Caller, Depends(current_caller)]


def _identify_and_admit(
    request: Request, access: Access, operation: str, settings: Settings
) -> Caller:
    identity = _identify(request, settings, access.fresh)
    if isinstance(identity, Caller):
        buckets = _buckets_of(identity, access, operation, settings)
        request.state.admission = Admission(access, buckets)
        if not getattr(request.state, "admits", False):
            request.state.admission.charge()
        return identity
    with single_statement(get_engine()) as connection:
        caller = identity(connection)
        buckets = _buckets_of(caller, access, operation, settings)
        request.state.admission = Admission(access, buckets)
        request.state.admission.charge(connection)
    return caller


def _buckets_of(
    caller: Caller, access: Access, operation: str, settings: Settings
) -> tuple[Bucket, ...]:
    own_limit = caller.rpm or settings.rate_limit_caller_per_minute
    of_all = settings.rate_limit_global_per_minute
    return _buckets(caller.id, own_limit, of_all, operation, access.per_minute)


@lru_cache(maxsize=4096)  # a caller's are the same with every request
def _buckets(
    subject: str, own_limit: int, of_all: int, operation: str, per_minute: int | None
) -> tuple[Bucket, ...]:
    limits = {
        ("default", subject): own_limit,
        ("global", "all"): of_all,
        (operation, subject): per_minute,
    }
    return tuple(Bucket(*whose, limit, 60) for whose, limit in limits.items() if limit)


def _address_of(request: Request) -> str:
    """Return the client's address; of IPv6 the network, as one client has 2^64 addresses."""
    import ipaddress  # only public routes need it

    host = request.client.host if request.client is not None else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return host


def _identify(request: Request, settings: Settings, fresh: bool) -> _Identity:
    kind, _, credential = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not credential:
        credential = request.headers.get("x-api-key", "")
    credential = credential.strip()
    if not credential:
        raise UnauthenticatedError(
            "Send 'Authorization: Bearer <access token or API key>' or 'x-api-key: <API key>'."
        )
    if credential.startswith(api_keys.PREFIX):
        return _identify_key(credential, settings, fresh)
    return _identify_person(credential, settings, fresh)


def _identify_key(key: str, settings: Settings, fresh: bool) -> _Identity:
    if not api_keys.is_well_formed(key):
        raise UnauthenticatedError("The API key is mistyped: its checksum does not fit.")
    secret_hash = api_keys.hash_key(key)
    cached = _cache.keys.get(secret_hash)
    if cached is not None and cached[0] > time.monotonic() and not fresh:
        return cached[1]

    def look_up(connection: sa.Connection) -> Caller:
        _cache.keys.pop(secret_hash, None)
        asked_at = time.monotonic()
        row = store.find_api_key(connection, secret_hash)
        if row is None:
            raise UnauthenticatedError("The API key is unknown, revoked or expired.")
        store.touch_api_key(connection, row.id)
        caller = Caller(
            to_text(KEY, row.id), row.name, None, frozenset(row.scopes), row.labels, None,
            row.rpm, row.tpm, row.budget_usd, row.budget_window,
        )  # fmt: skip
        if len(_cache.keys) >= _MAX_CACHED_KEYS:
            _cache.keys.clear()
        _cache.keys[secret_hash] = (asked_at + settings.credential_ttl_s, caller)
        return caller

    return look_up


def _identify_person(token: str, settings: Settings, fresh: bool) -> _Identity:
    claims = verify_access_token(settings, token)
    caller = Caller(to_text(USER, claims.user_id), claims.email, claims.role, claims=claims)

    def unless_revoked() -> Caller:
        if claims.family_id in _cache.revoked:
            raise UnauthenticatedError("This session has ended. Log in again.")
        return caller

    def look_up(connection: sa.Connection) -> Caller:
        asked_at = time.monotonic()
        _cache.revoked = store.list_revoked_families(connection, settings.access_token_ttl_s + 120)
        _cache.revoked_until = asked_at + settings.credential_ttl_s
        return unless_revoked()

    is_known = _cache.revoked_until > time.monotonic() and not fresh
    return unless_revoked() if is_known else look_up


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
