"""The log that is the truth: decisions, what serving did, what callers reported."""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import document, instant, metadata

# The registry as decisions saw it, stored once per content: with it, the policy version, the
# learner version and the seed, any decision can be recomputed exactly.
model_snapshots = sa.Table(
    "model_snapshots",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    document("cards"),
    instant("created_at", default_now=True),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    instant("created_at"),
    sa.Column("policy_version_id", sa.Uuid, nullable=False),
    sa.Column("policy_name", sa.Text, nullable=False),
    sa.Column("policy_version", sa.Integer, nullable=False),
    sa.Column("track", sa.Text, nullable=False, server_default="stable"),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("level_confidence", sa.Double, nullable=False),
    sa.Column("level_source", sa.Text, nullable=False),
    sa.Column("task_type", sa.Text),
    sa.Column("requested_model", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("propensity", sa.Double, nullable=False),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("explored", sa.Boolean, nullable=False),
    # Objective at decision time: later edits of the policy never reinterpret the past.
    sa.Column("quality_value_usd", sa.Double, nullable=False),
    sa.Column("latency_cost_usd_per_s", sa.Double, nullable=False),
    sa.Column("tokens_in", sa.Integer, nullable=False),
    sa.Column("features_version", sa.Integer, nullable=False),
    document("features"),
    document("candidates"),
    document("fallbacks"),
    document("request"),
    sa.Column("why", sa.Text, nullable=False),
    document("margin", nullable=True),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("learner_version", sa.BigInteger, nullable=False),
    sa.Column("model_snapshot_id", sa.Uuid, nullable=False),
    sa.Column("exploration_spent_usd", sa.Double, nullable=False),
    # Predicted utility given up against the best candidate: what exploring cost.
    sa.Column("regret_usd", sa.Double, nullable=False),
    sa.Column("prompt_hash", sa.Text, nullable=False),
    sa.Column("session_hash", sa.Text),
    document("text", nullable=True),
    sa.Column("caller", sa.Text, nullable=False),
    document("labels", default="{}"),
    # Finds a conversation's previous model; most requests name no session.
    sa.Index(
        "ix_decisions_session",
        "session_hash",
        "id",
        postgresql_where=sa.text("session_hash IS NOT NULL"),
    ),
    # What a key was used for.
    sa.Index("ix_decisions_caller", "caller", "id"),
    sa.CheckConstraint("propensity > 0 AND propensity <= 1", name="propensity"),
    postgresql_partition_by="RANGE (id)",
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("decision_id", sa.Uuid, primary_key=True),
    instant("created_at"),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("error_class", sa.Text),
    sa.Column("latency_ms", sa.Double, nullable=False),
    sa.Column("tokens_in", sa.Integer, nullable=False),
    sa.Column("tokens_out", sa.Integer, nullable=False),
    sa.Column("cost_usd", sa.Double),
    document("attempts"),
    document("text", nullable=True),
    sa.CheckConstraint("status IN ('success', 'error')", name="status"),
    postgresql_partition_by="RANGE (decision_id)",
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("decision_id", sa.Uuid, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("id", sa.Uuid, nullable=False),
    instant("created_at"),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("label", sa.Text),
    # Derived once, when the feedback arrives, so that every refold of the log sees the same reward.
    sa.Column("reward_usd", sa.Double, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("decision_id", "source"),
    sa.CheckConstraint("score >= 0 AND score <= 1", name="score"),
    postgresql_partition_by="RANGE (decision_id)",
)

PARTITIONED = (decisions, outcomes, feedback)
