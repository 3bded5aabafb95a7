"""Small worlds for the routing tests: models, a policy, a snapshot, a taught learner."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.routing.arrays import FloatArray
from shared.routing.features import text_features, with_level_and_time
from shared.routing.learner import FeedbackObservation, LearnerState, OutcomeObservation
from shared.routing.types import (
    LEVELS,
    Context,
    Level,
    LevelPolicy,
    ModelCard,
    RoutingPolicy,
    Snapshot,
)

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)

SMALL = ModelCard("replay/small", 0.1, 0.1, 8192)
MIDDLE = ModelCard("replay/middle", 0.5, 1.0, 32768)
LARGE = ModelCard("replay/large", 5.0, 15.0, 128000)


def make_level_policy(**changes: Any) -> LevelPolicy:
    return replace(LevelPolicy(quality_value_usd=0.01, latency_cost_usd_per_s=0.0), **changes)


def make_policy(**changes: Any) -> RoutingPolicy:
    level = make_level_policy(**changes)
    return RoutingPolicy(
        id="pol_1",
        name="default",
        version=1,
        levels=dict.fromkeys(LEVELS, level),
        task_levels={"gsm8k": "L3"},
    )


def make_snapshot(
    *models: ModelCard, learner: LearnerState | None = None, **changes: Any
) -> Snapshot:
    return Snapshot(
        policy=make_policy(**changes),
        models=models or (SMALL, MIDDLE, LARGE),
        learner=LearnerState.empty() if learner is None else learner,
    )


def make_context(text: str = "What is the capital of France?", **changes: Any) -> Context:
    return replace(Context(text=text, tokens_in=100, task_type="gsm8k"), **changes)


def make_feedback(
    model: str = SMALL.id,
    quality: float = 1.0,
    *,
    level: Level = "L3",
    task: str | None = "gsm8k",
    features: tuple[float, ...] = (),
    minutes: float = 0.0,
) -> FeedbackObservation:
    at = NOW + timedelta(minutes=minutes)
    return FeedbackObservation(level, task, model, features, quality, 0.5, at)


def featurise(text: str, level: Level | None, now: datetime) -> FloatArray:
    return with_level_and_time(text_features(text), level, now)


def features_of(text: str, level: Level = "L3") -> tuple[float, ...]:
    return tuple(featurise(text, level, NOW).tolist())


def make_outcome(model: str = SMALL.id, **changes: Any) -> OutcomeObservation:
    outcome = OutcomeObservation("L3", "gsm8k", model, 0.001, 900.0, 120, True, NOW)
    return replace(outcome, **changes)
