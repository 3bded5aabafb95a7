"""What every function needs to identify a caller. All other writes stay with the auth domain."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import api_keys, refresh_tokens, users

_MINUTE = timedelta(minutes=1)


def find_api_key(connection: sa.Connection, secret_hash: bytes) -> AnyRow | None:
    """Return the key with this hash if it is in force by the database's clock.

    After a rotation the secret before is in force too, until the overlap ends.
    """
    c = api_keys.c
    now = sa.func.clock_timestamp()
    return connection.execute(
        sa.select(
            c.id, c.name, c.scopes, c.labels, c.rpm, c.tpm, c.budget_usd, c.budget_window
        ).where(
            (api_keys.c.secret_hash == secret_hash)
            | (
                (api_keys.c.previous_secret_hash == secret_hash)
                & (api_keys.c.previous_valid_until > now)
            ),
            c.revoked_at.is_(None) | (c.revoked_at > now),
            c.expires_at.is_(None) | (c.expires_at > now),
        )
    ).one_or_none()


def touch_api_key(connection: sa.Connection, key_id: UUID) -> None:
    """Note that the key was used; writes at most once a minute and key."""
    now = sa.func.clock_timestamp()
    connection.execute(
        sa.update(api_keys)
        .where(
            api_keys.c.id == key_id,
            api_keys.c.last_used_at.is_(None) | (api_keys.c.last_used_at < now - _MINUTE),
        )
        .values(last_used_at=now)
    )


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
