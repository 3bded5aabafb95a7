"""Every SQL statement about API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import api_keys, decisions, outcomes

_NOW = sa.func.clock_timestamp()


def add_key(connection: sa.Connection, **values: Any) -> AnyRow:
    return connection.execute(sa.insert(api_keys).values(**values).returning(api_keys)).one()


def require_key(connection: sa.Connection, key_id: UUID) -> AnyRow:
    """Return a key that is there: keys are revoked, never deleted."""
    return connection.execute(sa.select(api_keys).where(api_keys.c.id == key_id)).one()


def list_keys(connection: sa.Connection, before: UUID | None, limit: int) -> list[AnyRow]:
    """Return keys, newest first, older than ``before``."""
    query = sa.select(api_keys).order_by(api_keys.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(api_keys.c.id < before)
    return list(connection.execute(query))


def lock_key(connection: sa.Connection, key_id: UUID) -> AnyRow | None:
    """Lock the key and return it, with whether it is over and whether two secrets are in force."""
    c = api_keys.c
    is_over = (c.revoked_at <= _NOW) | (c.expires_at <= _NOW)
    return connection.execute(
        sa.select(
            api_keys,
            sa.func.coalesce(is_over, sa.false()).label("is_over"),
            sa.func.coalesce(c.previous_valid_until > _NOW, sa.false()).label("is_overlapping"),
        )
        .where(c.id == key_id)
        .with_for_update()
    ).one_or_none()


def rotate_key(
    connection: sa.Connection, key_id: UUID, secret_hash: bytes, prefix: str, overlap_s: int
) -> AnyRow:
    """Give a locked key a new secret; the one before stays in force for ``overlap_s``."""
    before = api_keys.c.secret_hash if overlap_s else sa.null()
    until = _NOW + timedelta(seconds=overlap_s) if overlap_s else sa.null()
    return connection.execute(
        sa.update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(
            secret_hash=secret_hash,
            prefix=prefix,
            previous_secret_hash=before,
            previous_valid_until=until,
            rotated_at=_NOW,
        )
        .returning(api_keys)
    ).one()


def revoke_key(connection: sa.Connection, key_id: UUID) -> None:
    """Revoke a locked key with all its secrets."""
    connection.execute(
        sa.update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(revoked_at=_NOW, previous_secret_hash=None, previous_valid_until=None)
    )


def usage_of(
    connection: sa.Connection, callers: Sequence[str], since: UUID
) -> dict[str, tuple[int, int, float]]:
    """Return requests, tokens and dollars of each caller's decisions since an id's instant."""
    query = (
        sa.select(
            decisions.c.caller,
            sa.func.count(),
            sa.cast(
                sa.func.coalesce(sa.func.sum(outcomes.c.tokens_in + outcomes.c.tokens_out), 0),
                sa.BigInteger,
            ),
            sa.func.coalesce(sa.func.sum(outcomes.c.cost_usd), 0.0),
        )
        # The bound on both sides: it prunes the partitions of both tables.
        .outerjoin(
            outcomes,
            (outcomes.c.decision_id == decisions.c.id) & (outcomes.c.decision_id >= since),
        )
        .where(decisions.c.caller.in_(callers), decisions.c.id >= since)
        .group_by(decisions.c.caller)
    )
    return {caller: (n, tokens, float(usd)) for caller, n, tokens, usd in connection.execute(query)}
