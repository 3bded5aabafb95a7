"""Judge a policy on logged decisions: replay each context under it, then estimate. Reads only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from functions.learning import repository
from functions.learning.errors import NotEnoughFeedbackError, PolicyVersionNotFoundError
from shared.db.rows import AnyRow
from shared.decisions.cards import find_cards
from shared.decisions.replayer import stored_context
from shared.decisions.snapshot import World
from shared.errors import FieldError, InvalidInputError
from shared.kit.ids import uuid7
from shared.projections.learner import state_at
from shared.routing.decide import replay
from shared.routing.eligibility import NoEligibleModelError
from shared.routing.evaluation import Estimate, bootstrap_interval, overlap_report, weight_cap_of
from shared.routing.learner import LearnerState
from shared.routing.reward_model import LoggedDecisions, estimates_of
from shared.routing.types import LEVELS, Level, ModelCard, RoutingPolicy, Snapshot
from shared.schemas.learning import (
    ActionOverlap,
    EstimateOut,
    EvaluateRequest,
    EvaluationOut,
    EvaluationPart,
    OverlapOut,
)
from shared.schemas.policies import PolicyDocument

_WINDOW: Final = timedelta(days=7)
# The calendar must not end within a window.
_EARLIEST: Final = datetime(1970, 1, 8, tzinfo=UTC)
# API Gateway gives up after 30 s; the estimates themselves need a few.
_REPLAY_BUDGET_S: Final = 15.0
_LEAST_PER_LEVEL: Final = 20
_FEW_EFFECTIVE: Final = 50.0
_LARGE_GAP: Final = 0.01
# Cells of the reward model's table (groups x actions); rarer tasks share a group.
_MAX_CELLS: Final = 300
_RESAMPLES: Final = 500

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Judged:
    """The decisions that could be decided again; distributions over ``models``."""

    rows: list[AnyRow]
    models: list[str]
    logging: FloatArray
    target: FloatArray
    skipped: int
    ran_out: bool


def evaluate(
    connection: sa.Connection, world: World, wanted: EvaluateRequest, now: datetime
) -> EvaluationOut:
    """Estimate what the target would have earned in the window.

    Raises
    ------
    PolicyNotFoundError, PolicyVersionNotFoundError
        If the policy or its version is not there.
    InvalidInputError
        If the fixed model is not registered.
    NotEnoughFeedbackError
        If fewer than two judged decisions of the window can be decided again.
    """
    started_at = time.monotonic()
    until = wanted.until or now
    since = wanted.since or max(until, _EARLIEST) - _WINDOW
    policy = _policy(connection, world, wanted)
    rows = repository.judged_between(connection, since, until, wanted.max_decisions)
    judged = _decide_again(connection, world, wanted, policy, rows)
    if len(judged.rows) < 2:
        raise NotEnoughFeedbackError(
            f"{len(rows)} judged decisions lie in the window, {len(judged.rows)} of them can be "
            "decided again; an evaluation needs two. Send feedback, or widen the window."
        )
    levels = np.array([row.level for row in judged.rows])
    parts = [_part(judged, np.ones(levels.size, dtype=np.bool_), None)]
    parts += [
        _part(judged, levels == level, level)
        for level in LEVELS
        if int((levels == level).sum()) >= _LEAST_PER_LEVEL
    ]
    return EvaluationOut(
        target=_name(wanted, policy),
        learner=wanted.learner,
        since=since,
        until=until,
        decisions=len(judged.rows),
        skipped=judged.skipped,
        weight_cap=weight_cap_of(len(judged.rows)),
        recommended="dr_clipped",
        parts=parts,
        warnings=_warnings(judged, parts, len(rows), wanted.max_decisions),
        took_ms=(time.monotonic() - started_at) * 1000,
    )


def _policy(
    connection: sa.Connection, world: World, wanted: EvaluateRequest
) -> RoutingPolicy | None:
    """Return the policy to judge; None for a fixed model."""
    if wanted.model is not None:
        if wanted.model not in world.upstreams:
            problem = FieldError("#/model", f"{wanted.model!r} is not a registered model")
            raise InvalidInputError("GET /api/models lists the models.", errors=[problem])
        return None
    if wanted.document is not None:
        policy = wanted.document.to_policy(uuid7(), "draft", 1)
    elif wanted.policy is not None and wanted.version is not None:
        row = repository.find_policy_version(connection, wanted.policy, wanted.version)
        if row is None:
            raise PolicyVersionNotFoundError(
                f"There is no version {wanted.version} of a policy {wanted.policy!r}."
            )
        document = PolicyDocument.model_validate(row.document)
        policy = document.to_policy(row.id, wanted.policy, wanted.version)
    else:
        policy = world.policy(wanted.policy)
    if not wanted.greedy:
        return policy
    levels = {level: replace(found, strategy="greedy") for level, found in policy.levels.items()}
    return replace(policy, levels=levels)


def _decide_again(
    connection: sa.Connection,
    world: World,
    wanted: EvaluateRequest,
    policy: RoutingPolicy | None,
    rows: Sequence[AnyRow],
) -> _Judged:
    """Return both policies' probabilities, newest decisions first, within the time budget."""
    deadline = time.monotonic() + _REPLAY_BUDGET_S
    cards: dict[UUID, tuple[ModelCard, ...]] = {}
    states: dict[int, LearnerState] = {}
    kept: list[AnyRow] = []
    logged: list[dict[str, float]] = []
    aimed: list[dict[str, float]] = []
    skipped, ran_out = 0, False
    for row in rows:
        if time.monotonic() > deadline:
            ran_out = True
            break
        if policy is None:
            target = {str(wanted.model): 1.0}
        else:
            if row.model_snapshot_id not in cards:
                cards[row.model_snapshot_id] = find_cards(connection, row.model_snapshot_id)
            learner = world.learner
            if wanted.learner == "at_decision":
                if row.learner_version not in states:
                    states[row.learner_version] = state_at(connection, row.learner_version)
                learner = states[row.learner_version]
            snapshot = Snapshot(
                policy, cards[row.model_snapshot_id], learner,
                {row.level: row.exploration_spent_usd},
            )  # fmt: skip
            found = _probabilities(row, snapshot)
            if found is None:
                skipped += 1
                continue
            target = found
        kept.append(row)
        aimed.append(target)
        logged.append({c["model"]: c["probability"] for c in row.candidates if c["eligible"]})
    models = sorted({model for chances in (*logged, *aimed) for model in chances})
    return _Judged(kept, models, _matrix(logged, models), _matrix(aimed, models), skipped, ran_out)


def _probabilities(row: AnyRow, snapshot: Snapshot) -> dict[str, float] | None:
    """Return the target's probabilities, or None where it cannot decide this context."""
    try:
        decision = replay(
            stored_context(row), snapshot, row.features, seed=row.seed, now=row.created_at
        )
    except (ValueError, NoEligibleModelError):
        return None
    return {c.model: c.probability for c in decision.candidates if c.eligible}


def _matrix(chances: Sequence[Mapping[str, float]], models: Sequence[str]) -> FloatArray:
    matrix = np.array([[c.get(model, 0.0) for model in models] for c in chances])
    return np.asarray(matrix.reshape(len(chances), len(models)))


def _part(judged: _Judged, chosen: npt.NDArray[np.bool_], level: Level | None) -> EvaluationPart:
    rows = [row for row, is_chosen in zip(judged.rows, chosen, strict=True) if is_chosen]
    place = {model: index for index, model in enumerate(judged.models)}
    actions = np.array([place[row.model] for row in rows], dtype=np.int64)
    rewards = np.array([row.reward_usd for row in rows], dtype=np.float64)
    target, logging = judged.target[chosen], judged.logging[chosen]
    logged = LoggedDecisions(
        rewards=rewards,
        actions=actions,
        propensities=logging[np.arange(actions.size), actions],
        groups=_groups(rows, len(judged.models)),
        features=_features(rows),
    )
    found = estimates_of(logged, target, resamples=_RESAMPLES)
    own = bootstrap_interval(rewards, resamples=_RESAMPLES)
    n = len(rows)
    overlap = overlap_report(actions, logging, target)
    return EvaluationPart(
        level=level,
        decisions=n,
        logged=_shown(
            "logged", Estimate(float(rewards.mean()), own.lower, own.upper, 0.95, n, float(n))
        ),
        estimates=[_shown(name, estimate) for name, estimate in found.items()],
        overlap=OverlapOut(
            not_evaluable_share=overlap.not_evaluable_share,
            max_weight=overlap.max_weight,
            effective_sample_size=overlap.effective_sample_size,
            actions=[
                ActionOverlap(
                    model=model,
                    target_share=overlap.target_share_by_action[index],
                    logging_share=overlap.logging_share_by_action[index],
                    not_evaluable_share=overlap.not_evaluable_share_by_action[index],
                )
                for index, model in enumerate(judged.models)
            ],
        ),
    )


def _groups(rows: Sequence[AnyRow], n_models: int) -> npt.NDArray[np.int64]:
    """Return level and task as a number; tasks beyond the table's size share their level's."""
    keys = [(row.level, row.task_type or "") for row in rows]
    room = max(1, _MAX_CELLS // n_models - len(LEVELS))
    common = {key for key, _ in Counter(keys).most_common(room)}
    names = [key if key in common else (key[0], "") for key in keys]
    place = {name: index for index, name in enumerate(sorted(set(names)))}
    return np.array([place[name] for name in names], dtype=np.int64)


def _features(rows: Sequence[AnyRow]) -> FloatArray:
    """Return the stored features, or no columns where versions are mixed."""
    if len({(row.features_version, len(row.features)) for row in rows}) > 1:
        return np.zeros((len(rows), 0))
    return np.array([row.features for row in rows], dtype=np.float64)


def _shown(name: str, estimate: Estimate) -> EstimateOut:
    return EstimateOut.model_validate(
        {
            "estimator": name,
            "value": estimate.value,
            "lower": estimate.lower,
            "upper": estimate.upper,
            "confidence_level": estimate.confidence_level,
            "n": estimate.n,
            "effective_sample_size": estimate.effective_sample_size,
        }
    )


def _name(wanted: EvaluateRequest, policy: RoutingPolicy | None) -> str:
    if policy is None:
        return f"model {wanted.model}"
    name = f"policy {policy.name} version {policy.version}"
    return f"{name}, greedy" if wanted.greedy else name


def _warnings(
    judged: _Judged, parts: Sequence[EvaluationPart], n_found: int, limit: int
) -> list[str]:
    found = []
    for part in parts:
        place = part.level or "all traffic"
        lost = part.overlap.not_evaluable_share
        if lost > _LARGE_GAP:
            missing = [a.model for a in part.overlap.actions if a.not_evaluable_share > 0]
            found.append(
                f"{place}: {lost:.0%} of the traffic is not evaluable: the log never tries "
                f"{', '.join(missing)} there. IPS and SNIPS ignore it, DM and DR guess it."
            )
        if part.overlap.effective_sample_size < _FEW_EFFECTIVE:
            found.append(
                f"{place}: the log is worth {part.overlap.effective_sample_size:.0f} decisions of "
                "the target itself; intervals from so few are not reliable."
            )
    if judged.skipped:
        found.append(f"{judged.skipped} decisions could not be decided again and are left out.")
    if judged.ran_out:
        found.append("Time ran out: only the newest decisions of the window were judged.")
    if n_found == limit:
        found.append(f"The window may hold more: only its newest {limit} decisions were judged.")
    return found
