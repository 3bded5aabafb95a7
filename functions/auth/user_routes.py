"""/api/users."""

from __future__ import annotations

from fastapi import APIRouter, Response

from functions.auth import users
from shared.audit.acting import CurrentActor
from shared.config import get_settings
from shared.db.engine import get_engine, transaction
from shared.errors import ForbiddenError
from shared.schemas.auth import PasswordChange, User, UserCreate, UserPage, UserUpdate
from shared.web.callers import CurrentCaller, forget_cached_credentials
from shared.web.etag import IfMatch, tagged
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader, Transaction, Writes

router = APIRouter(tags=["auth"], route_class=Route)


@router.get(
    "/api/users",
    operation_id="auth_list_users",
    summary="List users",
    responses=problems(401, 403, 422),
)
async def list_users(connection: Reader, limit: Limit = 50, cursor: Cursor = None) -> UserPage:
    """List users, newest first; each one's `revision` in quotes is its ETag."""
    position = decode_cursor("users", cursor)
    items, more = users.list_page(connection, position, limit)
    return UserPage(items=items, next_cursor=encode_cursor("users", more))


@router.post(
    "/api/users",
    operation_id="auth_create_user",
    summary="Create a user",
    status_code=201,
    responses=problems(400, 401, 403, 409, 422),
)
async def create_user(
    body: UserCreate, response: Response, actor: CurrentActor, connection: Transaction
) -> User:
    """Create a user, who can log in at once."""
    return tagged(response, users.create(connection, body, actor))


@router.patch(
    "/api/users/{user_id}",
    operation_id="auth_update_user",
    summary="Change a user",
    responses=problems(400, 401, 403, 404, 409, 412, 422, 428),
)
async def update_user(
    user_id: str,
    body: UserUpdate,
    response: Response,
    actor: CurrentActor,
    connection: Transaction,
    if_match: IfMatch = None,
) -> User:
    """Change role or password, lock out or in, unlock; the last administrator stays one.

    A new role or password and a lock-out end the user's sessions: refreshing at once, access
    within 30 seconds.
    """
    user = users.change(connection, get_settings(), user_id, body, if_match, actor)
    forget_cached_credentials()
    return tagged(response, user)


@router.delete(
    "/api/users/{user_id}",
    operation_id="auth_delete_user",
    summary="Delete a user",
    status_code=204,
    responses=problems(401, 403, 404, 409, 422),
)
async def delete_user(user_id: str, actor: CurrentActor, connection: Transaction) -> None:
    """Delete a user and end their sessions. API keys that they created keep working."""
    users.remove(connection, user_id, actor)
    forget_cached_credentials()


@router.post(
    "/api/users/me/password",
    operation_id="auth_change_password",
    summary="Change one's own password",
    status_code=204,
    responses=problems(400, 401, 403, 404, 422, 429),
)
async def change_password(
    body: PasswordChange, caller: CurrentCaller, actor: CurrentActor, writes: Writes
) -> None:
    """Set a new password; every other session of yours ends."""
    claims = caller.claims
    if claims is None:
        raise ForbiddenError("API keys have no password.")
    # Committed by itself: a wrong guess counts although we answer an error.
    with transaction(get_engine()) as connection:
        check = users.find_for_password(connection, get_settings(), claims, actor)
    current_fits = users.fits(check, body.current_password)
    with writes.transaction() as connection:
        users.change_own_password(
            connection, check, claims, body.new_password, actor, current_fits=current_fits
        )
    writes.then(forget_cached_credentials)
