"""What operators configure: models, prices, policies and their immutable versions."""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import document, instant, metadata

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("upstream_name", sa.Text, nullable=False),
    sa.Column("secret_ref", sa.Text),
    sa.Column("context_tokens", sa.Integer, nullable=False),
    sa.Column("max_tokens_out", sa.Integer),
    document("modalities", default='["text"]'),
    sa.Column("region", sa.Text),
    sa.Column("latency_source", sa.Text, nullable=False, server_default="measured"),
    document("labels", default="{}"),
    sa.Column("status", sa.Text, nullable=False, server_default="operational"),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    instant("created_at", default_now=True),
    instant("updated_at", default_now=True),
    sa.CheckConstraint("latency_source IN ('measured', 'reported')", name="latency_source"),
    sa.CheckConstraint("status IN ('operational', 'degraded', 'down')", name="status"),
)

# Append-only: the price in force is the newest row, and a decision's price can always be shown.
prices = sa.Table(
    "prices",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("model_id", sa.Text, sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    sa.Column("input_usd_per_mtok", sa.Double),
    sa.Column("output_usd_per_mtok", sa.Double),
    instant("valid_from", default_now=True),
    sa.Index("ix_prices_model_id_id", "model_id", "id"),
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("is_default", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("active_version", sa.Integer, nullable=False),
    instant("created_at", default_now=True),
    instant("updated_at", default_now=True),
    # At most one policy answers "auto".
    sa.Index(
        "uq_policies_default", "is_default", unique=True, postgresql_where=sa.text("is_default")
    ),
)

policy_versions = sa.Table(
    "policy_versions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column(
        "policy_id", sa.Uuid, sa.ForeignKey("policies.id", ondelete="CASCADE"), nullable=False
    ),
    sa.Column("version", sa.Integer, nullable=False),
    document("document"),
    sa.Column("created_by", sa.Text, nullable=False),
    instant("created_at", default_now=True),
    sa.UniqueConstraint("policy_id", "version"),
)
