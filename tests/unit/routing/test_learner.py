from __future__ import annotations

import json
import math
from datetime import datetime

import pytest

from shared.routing.learner import (
    MAX_TASKS_PER_LEVEL,
    FeedbackObservation,
    LearnerState,
    Prediction,
)
from shared.routing.types import ModelCard
from tests.unit.routing.scenes import LARGE, MIDDLE, NOW, SMALL, make_feedback, make_outcome


def predict(state: LearnerState, *models: ModelCard, task: str | None = "gsm8k") -> Prediction:
    return state.predict(
        (), level="L3", task_type=task, tokens_in=1000, max_tokens_out=None, models=models
    )[0]


def test_a_new_model_starts_from_its_price_class() -> None:
    state = LearnerState.empty()
    assert predict(state, SMALL).quality < predict(state, LARGE).quality


def test_feedback_moves_the_expectation_and_narrows_it() -> None:
    before = LearnerState.empty()
    after = before.fold([make_feedback(quality=0.0)] * 200)
    assert predict(after, SMALL).quality < 0.1
    assert predict(after, SMALL).quality_sd < predict(before, SMALL).quality_sd


def test_a_task_borrows_from_its_level() -> None:
    state = LearnerState.empty().fold([make_feedback(quality=0.0)] * 200)
    unseen_task = predict(state, SMALL, task="something new").quality
    assert predict(state, SMALL).quality < unseen_task < predict(state, MIDDLE).quality


def test_a_failed_request_lowers_the_expected_quality() -> None:
    state = LearnerState.empty().fold([make_outcome(success=False)] * 50)
    assert predict(state, SMALL).quality < 0.8 * predict(state, LARGE).quality


def test_outcomes_teach_latency_and_length() -> None:
    state = LearnerState.empty().fold([make_outcome(latency_ms=100.0, tokens_out=10)] * 500)
    prediction = predict(state, SMALL)
    assert prediction.latency_ms == pytest.approx(100.0, rel=0.05)
    assert prediction.tokens_out == pytest.approx(10.0, rel=0.05)
    assert prediction.cost_usd == pytest.approx((1000 * 0.1 + 10 * 0.1) / 1e6, rel=0.01)


def test_an_unknown_price_is_predicted_from_its_peers_and_never_zero() -> None:
    stranger = ModelCard("replay/stranger", None, None, 8192)
    prediction = predict(LearnerState.empty(), stranger, SMALL, LARGE)
    assert prediction.cost_usd > 0
    assert not prediction.price_known


def test_an_unknown_price_follows_what_was_billed() -> None:
    stranger = ModelCard("replay/stranger", None, None, 8192)
    state = LearnerState.empty().fold([make_outcome(stranger.id, cost_usd=0.05)] * 500)
    assert predict(state, stranger, SMALL).cost_usd == pytest.approx(0.05, rel=0.01)


def test_the_state_survives_json_exactly() -> None:
    state = LearnerState.empty().fold(
        [make_feedback(quality=1 / 3), make_outcome(), make_feedback(task=None, quality=0.1)]
    )
    assert LearnerState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        LearnerState.from_json({"format": 99})


@pytest.mark.parametrize("quality", [math.nan, math.inf, -0.1, 1.1])
def test_feedback_outside_the_unit_interval_is_refused(quality: float) -> None:
    with pytest.raises(ValueError, match="quality"):
        make_feedback(quality=quality)


@pytest.mark.parametrize("propensity", [0.0, -1.0, 1.5, math.nan])
def test_an_impossible_propensity_is_refused(propensity: float) -> None:
    with pytest.raises(ValueError, match="propensity"):
        FeedbackObservation("L1", None, "m", (), 1.0, propensity, NOW)


def test_feedback_with_a_feature_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="features"):
        make_feedback(features=(1.0, math.nan))


def test_outcomes_with_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="latency_ms"):
        make_outcome(latency_ms=-1.0)
    with pytest.raises(ValueError, match="cost_usd"):
        make_outcome(cost_usd=math.nan)
    with pytest.raises(ValueError, match="aware"):
        make_outcome(at=datetime(2026, 1, 1))


def test_a_clock_that_runs_backwards_changes_nothing() -> None:
    forward = [make_feedback(minutes=m, quality=m / 10) for m in range(10)]
    assert LearnerState.empty().fold(forward) == LearnerState.empty().fold(reversed(forward))


def test_the_state_does_not_grow_with_the_number_of_task_tags() -> None:
    rows = [make_feedback(task=f"task-{i}") for i in range(MAX_TASKS_PER_LEVEL + 50)]
    state = LearnerState.empty().fold(rows)
    assert len(state.cells) == MAX_TASKS_PER_LEVEL + 1
    assert state == LearnerState.empty().fold(rows[::-1])
    assert state == LearnerState.empty().fold(rows[:100]).fold(rows[100:])
