"""/api/auth; keys, users and the audit log have files of their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Cookie, Header, Response

from functions.auth import audit_routes, key_routes, service, user_routes
from functions.auth.errors import CsrfError, RefreshRefusedError
from functions.auth.throttle import DEVICE_TTL_S
from shared.audit.acting import CurrentActor
from shared.auth.tokens import public_jwks
from shared.config import get_settings
from shared.db.engine import get_engine, transaction
from shared.kit.clock import utc_now
from shared.schemas.auth import (
    Identity,
    Jwks,
    LoginRequest,
    RefreshRequest,
    TokenResponse,
)
from shared.web.callers import CurrentCaller, forget_cached_credentials
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Transaction

router = APIRouter(tags=["auth"], route_class=Route)

# One application: a domain's routes are one list, which the access table is compared with.
router.routes += [
    *key_routes.router.routes, *user_routes.router.routes, *audit_routes.router.routes,
]  # fmt: skip

REFRESH_COOKIE = "__Host-davinci-refresh"
DEVICE_COOKIE = "__Host-davinci-device"
ClientKind = Annotated[
    str | None,
    Header(alias="x-davinci-client", description="`browser`: refresh token in a cookie only."),
]
CsrfHeader = Annotated[
    str | None,
    Header(alias="x-davinci-csrf", description="Any value; other sites cannot send it."),
]
RefreshCookie = Annotated[str | None, Cookie(alias=REFRESH_COOKIE, include_in_schema=False)]
DeviceCookie = Annotated[str | None, Cookie(alias=DEVICE_COOKIE, include_in_schema=False)]


@router.post(
    "/api/auth/login",
    operation_id="auth_login",
    summary="Log in",
    responses=problems(400, 401, 422, 429),
)
async def log_in(
    body: LoginRequest,
    response: Response,
    actor: CurrentActor,
    client: ClientKind = None,
    device: DeviceCookie = None,
) -> TokenResponse:
    """Exchange e-mail and password for an access token and a refresh token.

    After three wrong passwords each further one doubles a wait (429), by account. A browser that
    logged in before has a cookie that lets it in all the same.
    """
    session = service.log_in(
        get_engine(), get_settings(), body.email, body.password, device, actor, utc_now()
    )
    return _answer(response, session, in_cookie=client == "browser")


@router.post(
    "/api/auth/refresh",
    operation_id="auth_refresh",
    summary="Refresh the session",
    responses=problems(400, 401, 403, 422),
)
async def refresh(
    response: Response,
    actor: CurrentActor,
    body: RefreshRequest | None = None,
    cookie: RefreshCookie = None,
    csrf: CsrfHeader = None,
) -> TokenResponse:
    """Spend a refresh token for new tokens.

    Sent again within ten seconds it gives the same new one; later that ends the whole session.
    """
    in_body = (body.refresh_token if body is not None else None) or None
    if in_body is None and cookie is not None and csrf is None:
        raise CsrfError("Send the header x-davinci-csrf with the refresh cookie.")
    token = in_body or cookie
    if not token:
        raise RefreshRefusedError("Send the refresh cookie or refresh_token. Log in otherwise.")
    # Its own transaction: the end of a leaked family is committed although we answer 401.
    with transaction(get_engine()) as connection:
        session = service.refresh(connection, get_settings(), token, actor, utc_now())
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
async def log_out(
    response: Response, caller: CurrentCaller, actor: CurrentActor, connection: Transaction
) -> None:
    """End the session everywhere within a minute."""
    if caller.claims is not None:
        service.log_out(connection, caller.claims.family_id, actor)
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


def _answer(response: Response, session: service.Session, *, in_cookie: bool) -> TokenResponse:
    if in_cookie:
        response.set_cookie(
            REFRESH_COOKIE, session.refresh_token, expires=session.refresh_expires_at, path="/",
            secure=True, httponly=True, samesite="strict",
        )  # fmt: skip
    if session.device_cookie is not None:
        response.set_cookie(
            DEVICE_COOKIE, session.device_cookie, max_age=DEVICE_TTL_S, path="/",
            secure=True, httponly=True, samesite="strict",
        )  # fmt: skip
    return TokenResponse(
        access_token=session.access_token,
        token_type="Bearer",  # noqa: S106  # a word of the protocol
        expires_in=get_settings().access_token_ttl_s,
        refresh_token=None if in_cookie else session.refresh_token,
    )
