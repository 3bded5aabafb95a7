"""The learner's state as a projection: outcomes and feedback folded in sequence order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import decisions, learner_states
from shared.events.contracts import FeedbackRecordedV1, OutcomeRecordedV1
from shared.events.log import list_after
from shared.kit.ids import DECISION, parse
from shared.routing.learner import LearnerState
from shared.routing.observations import FeedbackObservation, Observation, OutcomeObservation

NAME = "learner"
# Any version can be refolded from the log; the newest few serve replays without that.
_KEPT_VERSIONS = 50


def fold_learner(connection: sa.Connection, events: Sequence[AnyRow], watermark: int) -> None:
    """Add the events' observations to the newest state; store it as version ``watermark``."""
    observations = observations_of(connection, events)
    if not observations:
        return
    newest = connection.execute(
        sa.select(learner_states.c.state).order_by(learner_states.c.version.desc()).limit(1)
    ).one_or_none()
    state = LearnerState.from_json(newest.state) if newest is not None else LearnerState.empty()
    state = state.fold(observations)
    connection.execute(
        sa.insert(learner_states).values(
            version=watermark, state=state.to_json(), updates=state.n_updates
        )
    )
    oldest_kept = (
        sa.select(learner_states.c.version)
        .order_by(learner_states.c.version.desc())
        .offset(_KEPT_VERSIONS)
        .limit(1)
        .scalar_subquery()
    )
    connection.execute(sa.delete(learner_states).where(learner_states.c.version <= oldest_kept))


def state_at(connection: sa.Connection, version: int) -> LearnerState:
    """Return the state of a version: a stored one, or the log folded again up to it."""
    stored = connection.execute(
        sa.select(learner_states.c.state).where(learner_states.c.version == version)
    ).one_or_none()
    if stored is not None:
        return LearnerState.from_json(stored.state)
    state = LearnerState.empty()
    for folded, _ in refold(connection, version):
        state = folded
    return state


def refold(
    connection: sa.Connection, until: int, batch: int = 2_000
) -> Iterator[tuple[LearnerState, int]]:
    """Fold the log from zero up to the sequence ``until``; yield state and position per batch."""
    state, position = LearnerState.empty(), 0
    while position < until:
        events = [e for e in list_after(connection, position, batch) if e.sequence <= until]
        if not events:
            return
        state = state.fold(observations_of(connection, events))
        position = events[-1].sequence
        yield state, position


def observations_of(connection: sa.Connection, events: Sequence[AnyRow]) -> list[Observation]:
    """Return what the learner is told by ``events``, in their order."""
    told = [
        e
        for e in events
        if e.detail_type in {OutcomeRecordedV1.detail_type, FeedbackRecordedV1.detail_type}
    ]
    ids = {parse(DECISION, e.data["decision_id"]) for e in told}
    if not ids:
        return []
    rows = connection.execute(
        sa.select(
            decisions.c.id, decisions.c.task_type, decisions.c.features, decisions.c.tokens_in
        ).where(decisions.c.id.in_(ids))
    )
    known = {row.id: row for row in rows}
    return [
        observation
        for event in told
        # A decision past retention has no features left to learn from.
        if (decision := known.get(parse(DECISION, event.data["decision_id"]))) is not None
        for observation in _observations(event, decision)
    ]


def _observations(event: AnyRow, decision: AnyRow) -> list[Observation]:
    if event.detail_type == FeedbackRecordedV1.detail_type:
        return [_judgement(event, decision)]
    data = event.data
    tried = [(model, False) for model in data["failed"]]
    if data["status"] == "success":
        tried.append((data["served_by"], True))
    return [
        OutcomeObservation(
            level=data["level"],
            task_type=decision.task_type,
            model=model,
            cost_usd=data["cost_usd"] if success else None,
            latency_ms=data["latency_ms"] if success else None,
            tokens_out=data["tokens_out"] if success else None,
            success=success,
            at=event.occurred_at,
            tokens_in=data["tokens_in"] if success else None,
            features=tuple(decision.features),
        )
        for model, success in tried
    ]


def _judgement(event: AnyRow, decision: AnyRow) -> Observation:
    data = event.data
    return FeedbackObservation(
        level=data["level"],
        task_type=decision.task_type,
        model=data["served_by"],
        features=tuple(decision.features),
        quality=data["score"],
        propensity=data["propensity"],
        at=event.occurred_at,
    )
