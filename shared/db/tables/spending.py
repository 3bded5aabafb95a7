"""Money and requests in work: what budgets have spent, what they hold, what has no outcome yet.

Money is whole nano-dollars: sums are exact and commute, which sums of floats are not.
"""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import instant, metadata

# One row per subject and window of time. ``reserved`` is held by requests in work.
spend = sa.Table(
    "spend",
    metadata,
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("window", sa.Text, nullable=False),
    instant("window_start"),
    sa.Column("reserved_nusd", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("settled_nusd", sa.BigInteger, nullable=False, server_default="0"),
    sa.PrimaryKeyConstraint("subject", "window", "window_start"),
    sa.CheckConstraint("\"window\" IN ('day', 'month', 'total')", name="window"),
    sa.CheckConstraint("reserved_nusd >= 0", name="reserved"),
)

# What one request holds of one budget; gone as soon as it is settled.
reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("decision_id", sa.Uuid, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("window", sa.Text, nullable=False),
    instant("window_start"),
    sa.Column("reserved_nusd", sa.BigInteger, nullable=False),
    instant("expires_at"),
    sa.PrimaryKeyConstraint("decision_id", "subject", "window"),
    sa.CheckConstraint("reserved_nusd >= 0", name="reserved"),
)

# Decisions that are being served: written with the decision, gone with its outcome. A row past its
# instant belongs to a process that died. Decisions that nobody serves have none.
in_flight = sa.Table(
    "in_flight",
    metadata,
    sa.Column("decision_id", sa.Uuid, primary_key=True),
    instant("outcome_due_at"),
)
