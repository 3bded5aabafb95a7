"""Who changed what: an append-only, hash-chained log. A trigger refuses UPDATE and DELETE."""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import instant, metadata

# ``before`` and ``after`` are text, not JSONB: the hash is over these very characters, and JSONB
# would write numbers anew.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    instant("at"),
    sa.Column("actor_id", sa.Text, nullable=False),
    sa.Column("actor_kind", sa.Text, nullable=False),
    sa.Column("actor_name", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("prev_hash", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Index("ix_audit_log_actor", "actor_id", "seq"),
    sa.Index("ix_audit_log_action", "action", "seq", postgresql_ops={"action": "text_pattern_ops"}),
    sa.Index("ix_audit_log_resource", "resource", "seq"),
    sa.Index("ix_audit_log_at", "at"),
)

# One row: the end of the chain. Its lock makes the chain serial, its content shows a cut tail.
audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.CheckConstraint('"only"', name="only"),
)
