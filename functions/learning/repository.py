"""Every SQL statement of the learning domain."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.rows import AnyRow
from shared.db.tables import (
    decisions,
    feedback,
    learner_states,
    outcomes,
    policies,
    policy_versions,
    rollups,
)
from shared.kit.ids import floor_at


def find_judged(connection: sa.Connection, decision_id: UUID) -> AnyRow | None:
    """Return what a reward is computed from: the decision's objective and its outcome."""
    d, o = decisions.c, outcomes.c
    return connection.execute(
        sa.select(
            d.id, d.level, d.model, d.policy_version_id, d.track, d.propensity, d.candidates,
            d.quality_value_usd, d.latency_cost_usd_per_s,
            o.status, o.model.label("served_by"), o.latency_ms, o.cost_usd,
        )
        .outerjoin(outcomes, o.decision_id == d.id)
        .where(d.id == decision_id)
    ).one_or_none()  # fmt: skip


def add_feedback(connection: sa.Connection, values: dict[str, Any]) -> bool:
    """Add a judgement unless this source has judged already; return whether it was added."""
    done = connection.execute(
        insert(feedback)
        .values(**values)
        .on_conflict_do_nothing(index_elements=["decision_id", "source"])
    )
    return done.rowcount == 1


def find_feedback(connection: sa.Connection, decision_id: UUID, source: str) -> AnyRow:
    return connection.execute(
        sa.select(feedback).where(
            feedback.c.decision_id == decision_id, feedback.c.source == source
        )
    ).one()


def rollups_since(connection: sa.Connection, grain: str, since: datetime) -> list[AnyRow]:
    """Return every rollup row of ``grain`` from ``since`` on, in order of time."""
    return list(
        connection.execute(
            sa.select(rollups)
            .where(rollups.c.grain == grain, rollups.c.bucket_at >= since)
            .order_by(rollups.c.bucket_at)
        )
    )


def newest_state(connection: sa.Connection) -> AnyRow | None:
    """Return version, updates and instant of the learner's newest state."""
    s = learner_states.c
    return connection.execute(
        sa.select(s.version, s.updates, s.created_at).order_by(s.version.desc()).limit(1)
    ).one_or_none()


def decisions_of(connection: sa.Connection, ids: list[UUID]) -> list[AnyRow]:
    """Return what an experience tells of each decision; those past retention are missing."""
    d = decisions.c
    return list(
        connection.execute(
            sa.select(
                d.id, d.created_at, d.level, d.task_type, d.tokens_in, d.features_version,
                d.features, d.candidates, d.model, d.propensity, d.policy_name, d.policy_version,
            ).where(d.id.in_(ids))
        )
    )  # fmt: skip


def judged_between(
    connection: sa.Connection, since: datetime, until: datetime, limit: int
) -> list[AnyRow]:
    """Return the newest judged decisions of a window with the mean of their rewards."""
    rewards = (
        sa.select(feedback.c.decision_id, sa.func.avg(feedback.c.reward_usd).label("reward_usd"))
        .where(feedback.c.decision_id >= floor_at(since))
        .group_by(feedback.c.decision_id)
        .subquery("rewards")
    )
    d = decisions.c
    return list(
        connection.execute(
            sa.select(
                d.id, d.created_at, d.level, d.task_type, d.tokens_in, d.features_version,
                d.features, d.candidates, d.model, d.propensity, d.request, d.seed,
                d.learner_version, d.model_snapshot_id, d.exploration_spent_usd,
                rewards.c.reward_usd,
            )
            .join(rewards, rewards.c.decision_id == d.id)
            .where(d.id >= floor_at(since), d.id < floor_at(until))
            .order_by(d.id.desc())
            .limit(limit)
        )
    )  # fmt: skip


def find_policy_version(connection: sa.Connection, name: str, version: int) -> AnyRow | None:
    """Return id and document of one version of the named policy."""
    return connection.execute(
        sa.select(policy_versions.c.id, policy_versions.c.document)
        .join(policies, policies.c.id == policy_versions.c.policy_id)
        .where(policies.c.name == name, policy_versions.c.version == version)
    ).one_or_none()
