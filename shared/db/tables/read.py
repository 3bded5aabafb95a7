"""Read models: folds of the event log, resumable from a watermark, rebuildable from zero."""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import document, instant, metadata

# The row's lock serialises the folds of one projection; the watermark is the last sequence folded.
projections = sa.Table(
    "projections",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("watermark", sa.BigInteger, nullable=False, server_default="0"),
    instant("updated_at", default_now=True),
)

# The version is the watermark it was folded to, so any version can be refolded from the log.
learner_states = sa.Table(
    "learner_states",
    metadata,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    document("state"),
    sa.Column("updates", sa.BigInteger, nullable=False),
    instant("created_at", default_now=True),
)

rollups = sa.Table(
    "rollups",
    metadata,
    sa.Column("grain", sa.Text, nullable=False),
    instant("bucket_at"),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("policy_version_id", sa.Uuid, nullable=False),
    sa.Column("track", sa.Text, nullable=False),
    sa.Column("decisions", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("explored", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("exploration_usd", sa.Double, nullable=False, server_default="0"),
    sa.Column("successes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("failures", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("cost_usd", sa.Double, nullable=False, server_default="0"),
    sa.Column("tokens_in", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("tokens_out", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rewards", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("reward_sum_usd", sa.Double, nullable=False, server_default="0"),
    sa.Column("reward_square_sum", sa.Double, nullable=False, server_default="0"),
    sa.Column("quality_sum", sa.Double, nullable=False, server_default="0"),
    # Sums of 1/propensity and reward/propensity: what "always this model" would have earned.
    sa.Column("weight_sum", sa.Double, nullable=False, server_default="0"),
    sa.Column("weighted_reward_sum_usd", sa.Double, nullable=False, server_default="0"),
    # Sums of w^2, w^2 r and w^2 r^2: how far that figure can be trusted.
    sa.Column("weight_square_sum", sa.Double, nullable=False, server_default="0"),
    sa.Column("weight_square_reward_sum", sa.Double, nullable=False, server_default="0"),
    sa.Column("weight_square_reward_square_sum", sa.Double, nullable=False, server_default="0"),
    document("latency_sketch", default="{}"),
    sa.PrimaryKeyConstraint("grain", "bucket_at", "level", "model", "policy_version_id", "track"),
    sa.CheckConstraint("grain IN ('1m', '1h')", name="grain"),
)
