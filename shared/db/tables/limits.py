"""What callers have used up, and what they were already answered."""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import instant, metadata

# One row per bucket and subject. Unlogged: an admission waits for no fsync, and after a crash of
# the server every bucket is full again. `tat_ns` is GCRA's theoretical arrival time in nanoseconds
# since 1970: a row whose time has passed says the same as no row.
rate_limits = sa.Table(
    "rate_limits",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tat_ns", sa.BigInteger, nullable=False),
    prefixes=["UNLOGGED"],
    # Every admission rewrites its row; room in the page keeps the index out of it.
    postgresql_with={"fillfactor": 50},
)

# One row per (caller, route, Idempotency-Key), named by its hash. The answer is encrypted with a
# key that only a caller who sends the same Idempotency-Key again lets us make.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("holder", sa.Uuid, nullable=False),
    sa.Column("status", sa.Integer, nullable=True),
    sa.Column("answer", sa.LargeBinary, nullable=True),
    instant("expires_at"),
    sa.CheckConstraint("(status IS NULL) = (answer IS NULL)", name="answer"),
    sa.Index("ix_idempotency_keys_expires_at", "expires_at"),
)
