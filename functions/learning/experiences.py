"""The log as a learner reads it: experiences in order, and proof that a second fold agrees."""

from __future__ import annotations

import json
import time
from typing import Any

import sqlalchemy as sa

from functions.learning import repository
from shared.db.rows import AnyRow
from shared.events.contracts import FeedbackRecordedV1
from shared.events.log import list_after
from shared.kit.ids import DECISION, parse
from shared.projections.learner import refold, state_at
from shared.routing.learner import LearnerState
from shared.schemas.learning import Rebuild


def experiences_after(
    connection: sa.Connection, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return up to ``limit`` judged decisions after sequence ``after``, and where to go on.

    An experience is what off-policy evaluation needs: context features, the action set with its
    probabilities, the chosen action with its propensity, and the reward in USD.
    """
    events = list_after(connection, after, limit, [FeedbackRecordedV1.detail_type])
    ids = [parse(DECISION, event.data["decision_id"]) for event in events]
    decisions = {row.id: row for row in repository.decisions_of(connection, ids)}
    found = [
        _experience(event, decisions[decision_id])
        for event, decision_id in zip(events, ids, strict=True)
        if decision_id in decisions
    ]
    return found, events[-1].sequence if len(events) == limit else None


def as_ndjson(experiences: list[dict[str, Any]]) -> str:
    """Return one JSON document a line."""
    return "".join(json.dumps(e, separators=(",", ":")) + "\n" for e in experiences)


def rebuild(connection: sa.Connection, budget_s: float) -> Rebuild:
    """Fold the log from zero to the live state's version and compare, exactly.

    A log that cannot be folded within ``budget_s`` is compared as far as nothing: ``identical`` is
    None and ``folded_to`` says how far it came.
    """
    started_at = time.monotonic()
    newest = repository.newest_state(connection)
    version = newest.version if newest is not None else 0
    state, position = LearnerState.empty(), 0
    for folded in refold(connection, version):
        state, position = folded
        if time.monotonic() - started_at > budget_s:
            break
    is_whole = position >= version
    identical = state.to_json() == state_at(connection, version).to_json() if is_whole else None
    return Rebuild(
        state_version=version,
        folded_to=position,
        events=position,  # sequences are dense: the last one is the count
        updates=state.n_updates,
        identical=identical,
        took_ms=(time.monotonic() - started_at) * 1000,
    )


def _experience(event: AnyRow, decision: AnyRow) -> dict[str, Any]:
    data = event.data
    eligible = [c for c in decision.candidates if c["eligible"]]
    return {
        "sequence": event.sequence,
        "decision_id": data["decision_id"],
        "decided_at": decision.created_at.isoformat(),
        "judged_at": event.occurred_at.isoformat(),
        "context": {
            "level": decision.level,
            "task_type": decision.task_type,
            "tokens_in": decision.tokens_in,
            "features_version": decision.features_version,
            "features": decision.features,
        },
        "actions": [c["model"] for c in eligible],
        "action_probabilities": [c["probability"] for c in eligible],
        "action": decision.model,
        "propensity": decision.propensity,
        "policy": {"name": decision.policy_name, "version": decision.policy_version},
        "source": data["feedback_source"],
        "quality": data["score"],
        "reward_usd": data["reward_usd"],
    }
