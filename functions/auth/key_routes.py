"""/api/keys."""

from __future__ import annotations

from fastapi import APIRouter

from functions.auth import keys
from shared.audit.acting import CurrentActor
from shared.config import get_settings
from shared.schemas.auth import KeyCreate, KeyCreated, KeyPage, KeyRotate
from shared.web.callers import forget_cached_credentials
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader, Transaction

router = APIRouter(tags=["auth"], route_class=Route)


@router.post(
    "/api/keys",
    operation_id="auth_create_key",
    summary="Create an API key",
    status_code=201,
    responses=problems(400, 401, 403, 422),
)
async def create_key(body: KeyCreate, actor: CurrentActor, connection: Transaction) -> KeyCreated:
    """Create a key. Its secret is shown this once and stored nowhere."""
    return keys.create(connection, get_settings(), body, actor)


@router.get(
    "/api/keys",
    operation_id="auth_list_keys",
    summary="List API keys",
    responses=problems(401, 403, 422),
)
async def list_keys(connection: Reader, limit: Limit = 50, cursor: Cursor = None) -> KeyPage:
    """List keys, newest first, without their secrets, with what they were used for."""
    position = decode_cursor("keys", cursor)
    items, more = keys.list_page(connection, position, limit)
    return KeyPage(items=items, next_cursor=encode_cursor("keys", more))


@router.post(
    "/api/keys/{key_id}/rotate",
    operation_id="auth_rotate_key",
    summary="Rotate an API key",
    status_code=201,
    responses=problems(400, 401, 403, 404, 409, 422),
)
async def rotate_key(
    key_id: str, actor: CurrentActor, connection: Transaction, body: KeyRotate | None = None
) -> KeyCreated:
    """Give a key a new secret, shown this once. The one before works for `overlap_s` more.

    Id, name, limits, budget and usage stay.
    """
    overlap_s = (body or KeyRotate(overlap_s=86_400)).overlap_s
    rotated = keys.rotate(connection, get_settings(), key_id, overlap_s, actor)
    forget_cached_credentials()
    return rotated


@router.delete(
    "/api/keys/{key_id}",
    operation_id="auth_revoke_key",
    summary="Revoke an API key",
    status_code=204,
    responses=problems(401, 403, 404, 422),
)
async def revoke_key(key_id: str, actor: CurrentActor, connection: Transaction) -> None:
    """Revoke a key for good; it stops working everywhere within 30 seconds."""
    keys.revoke(connection, key_id, actor)
    forget_cached_credentials()
