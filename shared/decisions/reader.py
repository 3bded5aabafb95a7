"""Read decisions whole: with outcome and feedback, as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import decisions, feedback, outcomes
from shared.kit.ids import DECISION, to_text
from shared.schemas.neural import (
    CandidateOut,
    DecisionDetail,
    FeedbackOut,
    MarginOut,
    OutcomeOut,
    PolicyRef,
)


def find_decision(connection: sa.Connection, decision_id: UUID) -> DecisionDetail | None:
    """Return one decision, or None."""
    query = _with_outcome().where(decisions.c.id == decision_id)
    return next(iter(_details(connection, list(connection.execute(query)))), None)


def list_decisions(
    connection: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]], limit: int
) -> list[DecisionDetail]:
    """Return decisions that meet ``conditions``, newest first."""
    query = _with_outcome().where(*conditions).order_by(decisions.c.id.desc()).limit(limit)
    return _details(connection, list(connection.execute(query)))


def _with_outcome() -> sa.Select[Any]:
    columns = [
        column.label(f"outcome_{column.name}")
        for column in outcomes.columns
        if column.name != "decision_id"
    ]
    return sa.select(decisions, *columns).outerjoin(
        outcomes, outcomes.c.decision_id == decisions.c.id
    )


def _details(connection: sa.Connection, rows: list[AnyRow]) -> list[DecisionDetail]:
    judged: dict[UUID, list[FeedbackOut]] = {row.id: [] for row in rows}
    if rows:
        found = connection.execute(
            sa.select(feedback)
            .where(feedback.c.decision_id.in_(judged))
            .order_by(feedback.c.created_at, feedback.c.source)
        )
        for item in found:
            judged[item.decision_id].append(
                FeedbackOut(
                    source=item.source, score=item.score, label=item.label,
                    reward_usd=item.reward_usd, created_at=item.created_at,
                )
            )  # fmt: skip
    return [_detail(row, judged[row.id]) for row in rows]


def _detail(row: AnyRow, judged: list[FeedbackOut]) -> DecisionDetail:
    outcome = None
    if row.outcome_status is not None:
        outcome = OutcomeOut(
            status=row.outcome_status,
            model=row.outcome_model,
            error_class=row.outcome_error_class,
            latency_ms=row.outcome_latency_ms,
            tokens_in=row.outcome_tokens_in,
            tokens_out=row.outcome_tokens_out,
            cost_usd=row.outcome_cost_usd,
            attempts=row.outcome_attempts,
            created_at=row.outcome_created_at,
        )
    return DecisionDetail(
        **decision_fields(row._asdict()),
        outcome=outcome,
        feedback=judged,
        seed=row.seed,
        features=row.features,
        text=row.text,
        answer=row.outcome_text,
    )


def decision_fields(row: Any) -> dict[str, Any]:
    """Return the members of ``DecisionOut`` of a row (or of a row about to be written)."""
    return {
        "decision_id": to_text(DECISION, row["id"]),
        "created_at": row["created_at"],
        "model": row["model"],
        "level": row["level"],
        "level_confidence": row["level_confidence"],
        "level_source": row["level_source"],
        "task_type": row["task_type"],
        "requested_model": row["requested_model"],
        "propensity": row["propensity"],
        "strategy": row["strategy"],
        "explored": row["explored"],
        "fallbacks": list(row["fallbacks"]),
        "candidates": [CandidateOut(**candidate) for candidate in row["candidates"]],
        "policy": PolicyRef(name=row["policy_name"], version=row["policy_version"]),
        "track": row["track"],
        "learner_version": row["learner_version"],
        "regret_usd": row["regret_usd"],
        "tokens_in": row["tokens_in"],
        "why": row["why"],
        "margin": MarginOut(**row["margin"]) if row["margin"] is not None else None,
        "caller": row["caller"],
    }
