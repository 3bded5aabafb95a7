"""Spend, reservations and breakers of the gateway.

Revision: 0004, follows: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "spend",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("window_start", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reserved_nusd", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settled_nusd", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("\"window\" IN ('day', 'month', 'total')", name=op.f("ck_spend_window")),
        sa.CheckConstraint("reserved_nusd >= 0", name=op.f("ck_spend_reserved")),
        sa.PrimaryKeyConstraint("subject", "window", "window_start", name=op.f("pk_spend")),
    )
    op.create_table(
        "reservations",
        sa.Column("decision_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("window_start", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reserved_nusd", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("reserved_nusd >= 0", name=op.f("ck_reservations_reserved")),
        sa.PrimaryKeyConstraint("decision_id", "subject", "window", name=op.f("pk_reservations")),
    )
    op.create_table(
        "in_flight",
        sa.Column("decision_id", sa.Uuid(), nullable=False),
        sa.Column("outcome_due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_in_flight")),
    )
    op.create_table(
        "breakers",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column(
            "circuits", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("open_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("probe_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["models.id"],
            name=op.f("fk_breakers_model_id_models"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_breakers")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("breakers")
    op.drop_table("in_flight")
    op.drop_table("reservations")
    op.drop_table("spend")
