"""/api/auth and /api/keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Cookie, Header, Response

from functions.auth import service
from functions.auth.errors import CsrfError, RefreshRefusedError
from shared.auth.tokens import public_jwks
from shared.config import get_settings
from shared.db.engine import get_engine, transaction
from shared.kit.clock import utc_now
from shared.schemas.auth import (
    Identity,
    Jwks,
    KeyCreate,
    KeyCreated,
    KeyPage,
    LoginRequest,
    RefreshRequest,
    TokenResponse,
)
from shared.web.callers import CurrentCaller, forget_cached_credentials
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor
from shared.web.responses import problems
from shared.web.session import Reader, Transaction

router = APIRouter(tags=["auth"])

REFRESH_COOKIE = "__Host-davinci-refresh"
ClientKind = Annotated[
    str | None,
    Header(alias="x-davinci-client", description="`browser`: refresh token in a cookie only."),
]
CsrfHeader = Annotated[
    str | None,
    Header(alias="x-davinci-csrf", description="Any value; other sites cannot send it."),
]
RefreshCookie = Annotated[str | None, Cookie(alias=REFRESH_COOKIE, include_in_schema=False)]


@router.post(
    "/api/auth/login",
    operation_id="auth_login",
    summary="Log in",
    responses=problems(400, 401, 422),
)
async def log_in(
    body: LoginRequest, response: Response, connection: Transaction, client: ClientKind = None
) -> TokenResponse:
    """Exchange e-mail and password for an access token and a refresh token."""
    session = service.log_in(connection, get_settings(), body.email, body.password, utc_now())
    return _answer(response, session, in_cookie=client == "browser")


@router.post(
    "/api/auth/refresh",
    operation_id="auth_refresh",
    summary="Refresh the session",
    responses=problems(400, 401, 403, 422),
)
async def refresh(
    response: Response,
    body: RefreshRequest | None = None,
    cookie: RefreshCookie = None,
    csrf: CsrfHeader = None,
) -> TokenResponse:
    """Spend a refresh token for new tokens. Using a spent one ends the whole session."""
    in_body = (body.refresh_token if body is not None else None) or None
    if in_body is None and cookie is not None and csrf is None:
        raise CsrfError("Send the header x-davinci-csrf with the refresh cookie.")
    token = in_body or cookie
    if not token:
        raise RefreshRefusedError("Send the refresh cookie or refresh_token. Log in otherwise.")
    # Its own transaction: the end of a leaked family is committed although we answer 401.
    with transaction(get_engine()) as connection:
        session = service.refresh(connection, get_settings(), token, utc_now())
    if session is None:
        raise RefreshRefusedError("The refresh token is spent, revoked or expired. Log in again.")
    return _answer(response, session, in_cookie=in_body is None)


@router.post(
    "/api/auth/logout",
    operation_id="auth_logout",
    summary="Log out",
    status_code=204,
    responses=problems(401, 403),
)
async def log_out(response: Response, caller: CurrentCaller, connection: Transaction) -> None:
    """End the session everywhere within a minute."""
    if caller.claims is not None:
        service.log_out(connection, caller.claims.family_id)
        forget_cached_credentials()
    response.delete_cookie(REFRESH_COOKIE, path="/", secure=True, httponly=True, samesite="strict")


@router.get(
    "/api/auth/verify",
    operation_id="auth_verify",
    summary="Who am I?",
    responses=problems(401, 403),
)
async def verify(caller: CurrentCaller) -> Identity:
    """Say whom the credentials belong to and what they grant."""
    expires_at = (
        datetime.fromtimestamp(caller.claims.expires_at, UTC) if caller.claims is not None else None
    )
    return Identity(
        id=caller.id,
        kind="user" if caller.role is not None else "api_key",
        name=caller.name,
        role=caller.role,
        scopes=sorted(caller.scopes),
        expires_at=expires_at,
    )


@router.get("/api/auth/jwks", operation_id="auth_jwks", summary="Public keys", responses=problems())
async def jwks(response: Response) -> Jwks:
    """Return the keys that verify our access tokens; two during a rotation."""
    response.headers["cache-control"] = "public, max-age=300"
    return Jwks.model_validate(public_jwks(get_settings()))


@router.post(
    "/api/keys",
    operation_id="auth_create_key",
    summary="Create an API key",
    status_code=201,
    responses=problems(400, 401, 403, 422),
)
async def create_key(body: KeyCreate, caller: CurrentCaller, connection: Transaction) -> KeyCreated:
    """Create a key. Its secret is shown this once and stored nowhere."""
    return service.create_key(connection, get_settings(), body, caller.id)


@router.get(
    "/api/keys",
    operation_id="auth_list_keys",
    summary="List API keys",
    responses=problems(401, 403, 422),
)
async def list_keys(connection: Reader, limit: Limit = 50, cursor: Cursor = None) -> KeyPage:
    """List keys, newest first, without their secrets."""
    position = decode_cursor("keys", cursor) if cursor else None
    items, more = service.list_keys(connection, position, limit)
    return KeyPage(items=items, next_cursor=encode_cursor("keys", more) if more else None)


@router.delete(
    "/api/keys/{key_id}",
    operation_id="auth_revoke_key",
    summary="Revoke an API key",
    status_code=204,
    responses=problems(401, 403, 404, 422),
)
async def revoke_key(key_id: str, connection: Transaction) -> None:
    """Revoke a key for good; it stops working everywhere within 30 seconds."""
    service.revoke_key(connection, key_id)
    forget_cached_credentials()


def _answer(response: Response, session: service.Session, *, in_cookie: bool) -> TokenResponse:
    if in_cookie:
        response.set_cookie(
            REFRESH_COOKIE, session.refresh_token, expires=session.refresh_expires_at, path="/",
            secure=True, httponly=True, samesite="strict",
        )  # fmt: skip
    return TokenResponse(
        access_token=session.access_token,
        token_type="Bearer",  # noqa: S106  # a word of the protocol
        expires_in=get_settings().access_token_ttl_s,
        refresh_token=None if in_cookie else session.refresh_token,
    )
