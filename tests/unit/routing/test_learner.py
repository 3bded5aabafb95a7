from __future__ import annotations

import json
import math
import time
from datetime import datetime

import pytest

from shared.routing.learner import (
    MAX_TASKS_PER_LEVEL,
    FeedbackObservation,
    LearnerState,
    Prediction,
)
from shared.routing.types import ModelCard
from tests.unit.routing.scenes import (
    LARGE,
    MIDDLE,
    NOW,
    SMALL,
    features_of,
    make_feedback,
    make_outcome,
)


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


def test_an_unseen_task_is_expected_to_be_like_the_level() -> None:
    state = LearnerState.empty().fold(
        [make_feedback(quality=0.0)] * 200 + [make_feedback(quality=1.0, task="easy")] * 200
    )
    unseen = predict(state, SMALL, task="something new").quality
    assert predict(state, SMALL).quality < unseen < predict(state, SMALL, task="easy").quality


def test_a_model_that_only_got_the_hard_task_is_not_taken_for_a_bad_one() -> None:
    rows = [
        *[make_feedback(SMALL.id, 0.2, task="hard")] * 100,
        *[make_feedback(SMALL.id, 0.9, task="easy")] * 100,
        *[make_feedback(LARGE.id, 0.4, task="hard")] * 100,
        *[make_feedback(MIDDLE.id, 0.3, task="hard")] * 100,
    ]
    state = LearnerState.empty().fold(rows)
    assert predict(state, LARGE, task="easy").quality > predict(state, LARGE, task="hard").quality
    assert predict(state, LARGE, task="easy").quality > 0.5


def test_an_untagged_prompt_is_recognised_by_its_features() -> None:
    sums = [f"Tom has {i} apples and buys {i + 2} more. How many has he now?" for i in range(60)]
    capitals = [f"What is the capital of country number {i}?" for i in range(60)]
    rows = [
        make_feedback(model, quality, task=task, features=features_of(text))
        for texts, task, good in ((sums, "sums", SMALL.id), (capitals, "capitals", LARGE.id))
        for text in texts
        for model in (SMALL.id, LARGE.id)
        for quality in [1.0 if model == good else 0.0]
    ]
    state = LearnerState.empty().fold(rows)

    def best(text: str) -> str:
        found = state.predict(
            features_of(text),
            level="L3",
            task_type=None,
            tokens_in=10,
            max_tokens_out=None,
            models=(SMALL, LARGE),
        )
        return max(found, key=lambda p: p.quality).model

    assert best("Ann has 7 pears and buys 12 more. How many has she now?") == SMALL.id
    assert best("What is the capital of Korea?") == LARGE.id


def test_within_a_task_the_prompt_itself_counts() -> None:
    short = [f"Compute {i} + {i}." for i in range(150)]
    long = [f"Compute {i} + {i}. " + "Then explain every step in detail. " * 8 for i in range(150)]
    rows = [
        make_feedback(model, quality, features=features_of(text))
        for texts, is_long in ((short, False), (long, True))
        for text in texts
        for model in (SMALL.id, LARGE.id)
        for quality in [1.0 if model == LARGE.id or not is_long else 0.0]
    ]
    state = LearnerState.empty().fold(rows)
    easy, hard = (
        state.predict(
            features_of(text),
            level="L3",
            task_type="gsm8k",
            tokens_in=10,
            max_tokens_out=None,
            models=(SMALL,),
        )[0].quality
        for text in (short[3], long[3])
    )
    assert easy > hard + 0.2


def test_a_model_that_got_worse_is_noticed_and_one_that_did_not_is_left_alone() -> None:
    steady = [make_feedback(LARGE.id, float(i % 10 < 7), minutes=10 * i) for i in range(600)]
    broken = [
        make_feedback(SMALL.id, float(i % 10 < (8 if i < 300 else 3)), minutes=10 * i)
        for i in range(600)
    ]
    state = LearnerState.empty().fold(steady + broken)
    assert predict(state, SMALL).quality == pytest.approx(0.3, abs=0.06)
    assert predict(state, LARGE).quality == pytest.approx(0.7, abs=0.03)


def test_feedback_of_an_older_feature_version_teaches_level_and_task() -> None:
    old = make_feedback(quality=0.0, features=(1.0, 2.0, 3.0))
    state = LearnerState.empty().fold([old] * 50)
    assert predict(state, SMALL).quality < 0.2


def test_the_state_of_twenty_models_stays_below_100_kb() -> None:
    rows = [
        make_feedback(f"m{i % 20}", (i % 7) / 6, task=f"t{i % 14}", features=vector, minutes=i)
        for i, vector in enumerate(
            features_of(f"question {i} of {i % 97} about topic {i % 31}?") for i in range(6000)
        )
    ]
    outcomes = [make_outcome(f"m{i % 20}", tokens_out=i % 900) for i in range(2000)]
    state = LearnerState.empty().fold([*rows, *outcomes])
    assert len(json.dumps(state.to_json())) <= 100_000


def test_ten_thousand_feedbacks_fold_within_two_seconds() -> None:
    vector = features_of("How many apples are left?")
    rows = [make_feedback(f"m{i % 10}", 1.0, features=vector, minutes=i) for i in range(10_000)]
    started = time.perf_counter()
    LearnerState.empty().fold(rows)
    assert time.perf_counter() - started < 2.0


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
    assert len(state.qualities) == MAX_TASKS_PER_LEVEL + 1
    assert state == LearnerState.empty().fold(rows[::-1])
    assert state == LearnerState.empty().fold(rows[:100]).fold(rows[100:])


def test_damaged_states_are_refused() -> None:
    data = LearnerState.empty().fold([make_feedback()]).to_json()
    for name in ("keys", "qualities", "serving", "cells", "scatter", "near_scatter"):
        with pytest.raises(ValueError, match="damaged"):
            LearnerState.from_json({**data, name: "AAAA"})
    with pytest.raises(ValueError, match="unknown level"):
        LearnerState.from_json({**data, "tasks": [["L9", "x"]]})
