"""Which models are left alone for now, shared by every process."""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import document, instant, metadata

# One row per model that failed lately; no row means closed. The row's lock serialises its state
# machine, and one conditional update of it lets exactly one process probe.
breakers = sa.Table(
    "breakers",
    metadata,
    sa.Column(
        "model_id", sa.Text, sa.ForeignKey("models.id", ondelete="CASCADE"), primary_key=True
    ),
    # By family of error: failures, since, openings, open_until; instants as epoch seconds.
    document("circuits"),
    instant("open_until", nullable=True),
    instant("probe_until", nullable=True),
    instant("updated_at", default_now=True),
)
