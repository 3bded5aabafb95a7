"""Reads that every function needs to identify a caller. Writes stay with the auth domain."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import api_keys, refresh_tokens, users


def find_api_key(connection: sa.Connection, secret_hash: bytes) -> AnyRow | None:
    """Return the key with this hash if it is in force by the database's clock."""
    now = sa.func.clock_timestamp()
    return connection.execute(
        sa.select(api_keys.c.id, api_keys.c.name, api_keys.c.scopes, api_keys.c.labels).where(
            api_keys.c.secret_hash == secret_hash,
            api_keys.c.revoked_at.is_(None) | (api_keys.c.revoked_at > now),
            api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > now),
        )
    ).one_or_none()


def list_revoked_families(connection: sa.Connection, window_s: int) -> set[UUID]:
    """Return the token families that ended within ``window_s``: older access tokens are dead."""
    since = sa.func.clock_timestamp() - sa.func.make_interval(0, 0, 0, 0, 0, 0, window_s)
    revoked = sa.select(refresh_tokens.c.family_id).where(refresh_tokens.c.revoked_at > since)
    # Somebody locked out loses every family at once.
    locked_out = (
        sa.select(refresh_tokens.c.family_id)
        .join(users, users.c.id == refresh_tokens.c.user_id)
        .where(~users.c.is_active)
    )
    return set(connection.scalars(revoked.union(locked_out)))
