"""Every SQL statement of the auth domain."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.rows import AnyRow
from shared.db.tables import api_keys, refresh_tokens, users

# The database's clock decides what is in force: functions' clocks may differ.
_NOW = sa.func.clock_timestamp()


def find_user_by_email(connection: sa.Connection, email: str) -> AnyRow | None:
    return connection.execute(sa.select(users).where(users.c.email == email)).one_or_none()


def find_user(connection: sa.Connection, user_id: UUID) -> AnyRow | None:
    return connection.execute(sa.select(users).where(users.c.id == user_id)).one_or_none()


def add_user(
    connection: sa.Connection, user_id: UUID, email: str, password_hash: str, role: str
) -> bool:
    """Add a user unless the e-mail is taken; return whether it was added."""
    statement = insert(users).values(
        id=user_id, email=email, password_hash=password_hash, role=role
    )
    done = connection.execute(statement.on_conflict_do_nothing(index_elements=["email"]))
    return done.rowcount == 1


def set_password_hash(connection: sa.Connection, user_id: UUID, password_hash: str) -> None:
    connection.execute(
        sa.update(users).where(users.c.id == user_id).values(password_hash=password_hash)
    )


def add_refresh_token(
    connection: sa.Connection, token_hash: bytes, family_id: UUID, user_id: UUID,
    expires_at: datetime,
) -> None:  # fmt: skip
    connection.execute(
        sa.insert(refresh_tokens).values(
            token_hash=token_hash, family_id=family_id, user_id=user_id, expires_at=expires_at
        )
    )


def spend_refresh_token(connection: sa.Connection, token_hash: bytes) -> AnyRow | None:
    """Mark the token spent and return it; None if it was not in force. One statement, so of many
    at a time exactly one succeeds.
    """
    return connection.execute(
        sa.update(refresh_tokens)
        .where(
            refresh_tokens.c.token_hash == token_hash,
            refresh_tokens.c.spent_at.is_(None),
            refresh_tokens.c.revoked_at.is_(None),
            refresh_tokens.c.expires_at > _NOW,
        )
        .values(spent_at=_NOW)
        .returning(
            refresh_tokens.c.family_id, refresh_tokens.c.user_id, refresh_tokens.c.expires_at
        )
    ).one_or_none()


def find_refresh_token(connection: sa.Connection, token_hash: bytes) -> AnyRow | None:
    return connection.execute(
        sa.select(refresh_tokens).where(refresh_tokens.c.token_hash == token_hash)
    ).one_or_none()


def revoke_family(connection: sa.Connection, family_id: UUID) -> None:
    connection.execute(
        sa.update(refresh_tokens)
        .where(refresh_tokens.c.family_id == family_id, refresh_tokens.c.revoked_at.is_(None))
        .values(revoked_at=_NOW)
    )


def delete_expired_refresh_tokens(connection: sa.Connection, user_id: UUID) -> None:
    """Forget the user's tokens that have been worthless for a day."""
    connection.execute(
        sa.delete(refresh_tokens).where(
            refresh_tokens.c.user_id == user_id,
            refresh_tokens.c.expires_at < _NOW - timedelta(days=1),
        )
    )


def add_key(connection: sa.Connection, **values: Any) -> AnyRow:
    return connection.execute(sa.insert(api_keys).values(**values).returning(api_keys)).one()


def list_keys(connection: sa.Connection, before: UUID | None, limit: int) -> list[AnyRow]:
    """Return keys, newest first, older than ``before``."""
    query = sa.select(api_keys).order_by(api_keys.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(api_keys.c.id < before)
    return list(connection.execute(query))


def revoke_key(connection: sa.Connection, key_id: UUID) -> bool:
    """Revoke the key; return whether it exists."""
    done = connection.execute(
        sa.update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(revoked_at=sa.func.coalesce(api_keys.c.revoked_at, _NOW))
    )
    return done.rowcount == 1
