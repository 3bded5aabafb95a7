"""Transactional outbox, which is also the event log, and the inbox of its consumers."""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import document, instant, metadata

# A row is written with the change it tells. The relay gives it its sequence (dense, in commit
# order as far as anyone can see) and publishes it; readers and projections follow the sequence.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("event_id", sa.Uuid, primary_key=True),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("detail_type", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    instant("occurred_at"),
    document("data"),
    instant("published_at", nullable=True),
    sa.Index("uq_outbox_sequence", "sequence", unique=True),
    sa.Index("ix_outbox_unsequenced", "event_id", postgresql_where=sa.text("sequence IS NULL")),
    sa.Index(
        "ix_outbox_unpublished",
        "sequence",
        postgresql_where=sa.text("published_at IS NULL AND sequence IS NOT NULL"),
    ),
)

# One row: the last sequence given out. Its lock makes the relay the only numberer.
event_sequence = sa.Table(
    "event_sequence",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("value", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint('"only"', name="only"),
)

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("consumer", sa.Text, nullable=False),
    sa.Column("event_id", sa.Uuid, nullable=False),
    instant("processed_at", default_now=True),
    sa.PrimaryKeyConstraint("consumer", "event_id"),
)
