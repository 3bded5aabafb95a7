"""Feedback becomes reward; reward becomes figures."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from functions.learning import repository
from functions.learning.errors import DecisionNotFoundError, FeedbackDiffersError
from shared.db.rows import AnyRow
from shared.events.contracts import FeedbackRecordedV1
from shared.events.outbox import add_event
from shared.kit.ids import DECISION, FEEDBACK, parse, to_text, uuid7
from shared.schemas.learning import Feedback, FeedbackCreate


def record_feedback(
    connection: sa.Connection, wanted: FeedbackCreate, caller: str, now: datetime
) -> tuple[Feedback, bool]:
    """Attach a judgement to a decision and compute its reward; return whether it is new.

    Safe to repeat: a decision and a source make one judgement. Late judgements are kept and
    learned from like any other.

    Raises
    ------
    DecisionNotFoundError
        If there is no such decision.
    FeedbackDiffersError
        If this source has judged this decision differently before.
    """
    decision_id = parse(DECISION, wanted.decision_id)
    decision = repository.find_judged(connection, decision_id)
    if decision is None:
        raise DecisionNotFoundError(f"There is no decision {wanted.decision_id}.")
    reward = reward_usd(decision, wanted.value)
    added = repository.add_feedback(
        connection,
        {
            "id": uuid7(),
            "decision_id": decision_id,
            "source": wanted.source,
            "created_at": now,
            "score": wanted.value,
            "label": wanted.label,
            "reward_usd": reward,
            "caller": caller,
        },
    )
    if added:
        add_event(connection, _event(decision, wanted, reward), now)
    stored = repository.find_feedback(connection, decision_id, wanted.source)
    if stored.score != wanted.value or stored.label != wanted.label:
        raise FeedbackDiffersError(
            f"{wanted.source!r} judged this decision {stored.score} before; a judgement is final. "
            "Judge again under another source."
        )
    return _feedback(stored), added


def reward_usd(decision: AnyRow, quality: float) -> float:
    """Return the utility in dollars that ``quality`` means for this decision.

    Cost and latency are the outcome's; where there is none (decide only) or a price is unknown,
    what the decision predicted of the chosen model.
    """
    predicted = next(c for c in decision.candidates if c["model"] == decision.model)
    cost, latency_ms = decision.cost_usd, decision.latency_ms
    if decision.status != "success":
        latency_ms = predicted["latency_ms"]
    if cost is None:
        cost = predicted["cost_usd"]
    return float(
        quality * decision.quality_value_usd
        - (cost or 0.0)
        - (latency_ms or 0.0) / 1000 * decision.latency_cost_usd_per_s
    )


def _event(decision: AnyRow, wanted: FeedbackCreate, reward: float) -> FeedbackRecordedV1:
    return FeedbackRecordedV1(
        decision_id=wanted.decision_id,
        level=decision.level,
        model=decision.model,
        policy_version_id=str(decision.policy_version_id),
        track=decision.track,
        served_by=decision.served_by or decision.model,
        feedback_source=wanted.source,
        score=wanted.value,
        reward_usd=reward,
        propensity=decision.propensity,
    )


def _feedback(row: AnyRow) -> Feedback:
    return Feedback(
        feedback_id=to_text(FEEDBACK, row.id),
        decision_id=to_text(DECISION, row.decision_id),
        source=row.source,
        score=row.score,
        label=row.label,
        reward_usd=row.reward_usd,
        created_at=row.created_at,
    )
