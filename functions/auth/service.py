"""Coming in: logins, refresh families, API keys."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from functions.auth import repository
from functions.auth.errors import BadCredentialsError, KeyNotFoundError
from shared.auth import api_keys
from shared.auth.passwords import MAX_BYTES, hash_password, needs_rehash, verify_password
from shared.auth.tokens import issue_access_token
from shared.config import Settings
from shared.db.rows import AnyRow
from shared.kit.ids import KEY, MalformedIdError, parse, to_text, uuid7
from shared.schemas.auth import Key, KeyCreate, KeyCreated

_REFRESH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """A pair of tokens; the refresh token is worth one refresh."""

    access_token: str
    refresh_token: str
    refresh_expires_at: datetime


def log_in(
    connection: sa.Connection, settings: Settings, email: str, password: str, now: datetime
) -> Session:
    """Open a session.

    Raises
    ------
    BadCredentialsError
        For an unknown user as for a wrong password, in the same time.
    """
    user = repository.find_user_by_email(connection, email.strip().lower())
    usable = user is not None and user.is_active and len(password.encode()) <= MAX_BYTES
    fits = verify_password(user.password_hash if usable and user else None, password[:MAX_BYTES])
    if user is None or not fits:
        raise BadCredentialsError("The e-mail or the password is wrong.")
    if needs_rehash(user.password_hash):
        repository.set_password_hash(connection, user.id, hash_password(password))
    repository.delete_expired_refresh_tokens(connection, user.id)
    expires_at = now + timedelta(seconds=settings.refresh_token_ttl_s)
    return _open(connection, settings, user, uuid7(), expires_at, now)


def refresh(
    connection: sa.Connection, settings: Settings, refresh_token: str, now: datetime
) -> Session | None:
    """Spend the refresh token for a new session of the same family; None if it is refused.

    A token that was spent before has leaked: its family ends. That must be committed, so refusal
    is a value here and an error only in the route. The family's expiry is never extended.
    """
    token_hash = _hash(refresh_token)
    spent = repository.spend_refresh_token(connection, token_hash)
    if spent is None:
        known = repository.find_refresh_token(connection, token_hash)
        if known is not None and known.spent_at is not None:
            repository.revoke_family(connection, known.family_id)
        return None
    user = repository.find_user(connection, spent.user_id)
    if user is None or not user.is_active:
        repository.revoke_family(connection, spent.family_id)
        return None
    return _open(connection, settings, user, spent.family_id, spent.expires_at, now)


def log_out(connection: sa.Connection, family_id: UUID) -> None:
    """End the session's family: refresh at once, access within the revocation list's TTL."""
    repository.revoke_family(connection, family_id)


def ensure_user(connection: sa.Connection, email: str, password: str, role: str) -> bool:
    """Create a user unless the e-mail is taken; return whether it was created."""
    return repository.add_user(
        connection, uuid7(), email.strip().lower(), hash_password(password), role
    )


def create_key(
    connection: sa.Connection, settings: Settings, wanted: KeyCreate, created_by: str
) -> KeyCreated:
    """Create an API key; the only time that its secret is known."""
    secret = api_keys.generate_key(settings.environment)
    row = repository.add_key(
        connection,
        id=uuid7(),
        name=wanted.name,
        prefix=api_keys.visible_prefix(secret),
        secret_hash=api_keys.hash_key(secret),
        scopes=sorted(set(wanted.scopes)),
        labels=wanted.labels,
        created_by=created_by,
        expires_at=wanted.expires_at,
    )
    return KeyCreated(**_key(row).model_dump(), secret=secret)


def list_keys(
    connection: sa.Connection, before: str | None, limit: int
) -> tuple[list[Key], str | None]:
    """Return a page of keys, newest first, and the position after it."""
    position = UUID(before) if before else None
    rows = repository.list_keys(connection, position, limit + 1)
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return [_key(row) for row in rows[:limit]], more


def revoke_key(connection: sa.Connection, key_id: str) -> None:
    """Revoke a key for good; revoking twice is one revocation.

    Raises
    ------
    KeyNotFoundError
        If there is no such key.
    """
    try:
        found = repository.revoke_key(connection, parse(KEY, key_id))
    except MalformedIdError:
        found = False
    if not found:
        raise KeyNotFoundError(f"There is no API key {key_id}.")


def _open(
    connection: sa.Connection, settings: Settings, user: AnyRow, family_id: UUID,
    expires_at: datetime, now: datetime,
) -> Session:  # fmt: skip
    refresh_token = secrets.token_urlsafe(_REFRESH_BYTES)
    repository.add_refresh_token(connection, _hash(refresh_token), family_id, user.id, expires_at)
    access = issue_access_token(
        settings, user_id=user.id, email=user.email, role=user.role, family_id=family_id, now=now
    )
    return Session(access, refresh_token, expires_at)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _key(row: AnyRow) -> Key:
    return Key(
        id=to_text(KEY, row.id),
        name=row.name,
        prefix=row.prefix,
        scopes=row.scopes,
        labels=row.labels,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
