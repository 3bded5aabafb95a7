"""The view that knows no tasks: closeness to landmarks, and the regression on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from shared.routing import moments as mo
from shared.routing.arrays import FloatArray
from shared.routing.caution import curiosity
from shared.routing.learner import LearnerState
from shared.routing.neighbourhoods import CLOSENESS_UNIT, N_LANDMARKS, closeness, prior_root
from shared.routing.slopes import SIMILAR_RATIOS, similar_of
from tests.unit.routing.scenes import LARGE, SMALL, features_of, make_feedback

TEXTS = [
    *(f"Tom has {i} apples and buys {i % 7} more. How many has he?" for i in range(60)),
    *(f"def f{i}(x):\n    return x + {i}" for i in range(60)),
    *("안녕하세요 " * (i % 9 + 1) + str(i) for i in range(60)),
]


def vectors_of(texts: list[str]) -> mo.IntArray:
    return mo.fixed_point(np.array([features_of(text) for text in texts]))


def quality_of(i: int) -> float:
    return round(0.2 + 0.6 * (i % 3 == 0) + 0.1 * (i >= 60), 3)


def taught() -> LearnerState:
    return LearnerState.empty().fold(
        make_feedback(SMALL.id, quality_of(i), task=None, features=features_of(text))
        for i, text in enumerate(TEXTS)
    )


def test_closeness_is_between_none_and_all_and_the_same_one_by_one() -> None:
    vectors = vectors_of(TEXTS)
    together = closeness(vectors)
    assert together.shape == (len(TEXTS), N_LANDMARKS)
    assert together.dtype == np.int64
    assert 0 <= together.min() < together.max() <= CLOSENESS_UNIT
    assert all(np.array_equal(closeness(v), row) for v, row in zip(vectors, together, strict=True))


def test_alike_prompts_are_close_to_the_same_landmarks() -> None:
    sums, more_sums, code = closeness(vectors_of([TEXTS[3], TEXTS[4], TEXTS[70]]))
    assert np.abs(sums - more_sums).sum() < 0.5 * np.abs(sums - code).sum()


def ratios_of(answers: FloatArray) -> tuple[float, float]:
    """Return the ratios (to all models, to each) of the kernel regressions written out that the
    view of two models' ``answers`` to ``TEXTS``, shape (n_texts, 2), equals.
    """
    found = similar_of(
        LearnerState.empty().fold(
            make_feedback(model, float(quality), task=None, features=features_of(text))
            for text, row in zip(TEXTS, answers, strict=True)
            for model, quality in zip((SMALL.id, LARGE.id), row, strict=True)
        )
    )
    assert found is not None
    near = closeness(vectors_of(TEXTS)) / CLOSENESS_UNIT @ prior_root()
    away = near - near.mean(axis=0)
    quality = answers - answers.mean(axis=0)
    common = quality.mean(axis=1, keepdims=True)
    weights = found.weights[[found.models[SMALL.id], found.models[LARGE.id]]]
    expected = (closeness(vectors_of(TEXTS)) - found.usual["L3"]) @ weights.T

    def fitted(values: FloatArray, ratio: float) -> FloatArray:
        inner = away.T @ away + ratio * np.eye(N_LANDMARKS)
        smooth: FloatArray = away @ np.linalg.solve(inner, away.T @ values)
        return smooth

    (equal,) = [
        (to_all, to_each)
        for to_all in SIMILAR_RATIOS
        for to_each in SIMILAR_RATIOS
        if np.allclose(
            fitted(common, to_all) + fitted(quality - common, to_each), expected, atol=1e-7
        )
    ]
    return equal


def test_the_view_believes_differences_that_follow_the_prompts_and_not_those_of_chance() -> None:
    kind = np.arange(len(TEXTS)) // 60  # sums, code, Korean
    chance = np.random.default_rng(0).random((len(TEXTS), 2))
    by_prompt = np.stack((chance[:, 0] < 0.1 + 0.4 * kind, chance[:, 1] < 0.9 - 0.4 * kind), 1)
    assert ratios_of(by_prompt.astype(float))[1] <= 4.0
    assert ratios_of((chance < 0.5).astype(float)) == (SIMILAR_RATIOS[-1],) * 2


def test_a_task_known_by_name_leaves_little_to_the_similar_view() -> None:
    state = LearnerState.empty().fold(
        make_feedback(SMALL.id, float(i < 60), task="mixed", features=features_of(text))
        for i, text in enumerate(TEXTS * 2)
    )
    without = replace(state, near={})

    def effect(task: str | None) -> float:
        found = [
            learner.predict(
                features_of(TEXTS[0]), level="L3", task_type=task, tokens_in=1,
                max_tokens_out=None, models=(SMALL,),
            )[0].quality
            for learner in (state, without)
        ]  # fmt: skip
        return abs(found[0] - found[1])

    assert effect(None) > 0.05
    assert effect("mixed") < 0.1 * effect(None)


def test_a_state_of_the_release_before_the_landmarks_predicts_as_it_did_and_learns_on() -> None:
    stored = Path(__file__).with_name("state_format_2.json").read_text(encoding="utf-8")
    read = LearnerState.from_json(json.loads(stored))
    found = read.predict(
        (), level="L3", task_type="gsm8k", tokens_in=10, max_tokens_out=None, models=(SMALL, LARGE)
    )
    assert [p.quality for p in found] == [0.5806241949, 0.6067666167]
    assert read.n_updates == 4 and read.models and not read.near
    onward = read.fold([make_feedback(features=features_of("x"))])
    assert onward.near[SMALL.id].n == 1
    assert LearnerState.from_json(onward.to_json()) == onward


def test_a_new_model_is_tried_more_eagerly_than_a_seasoned_one() -> None:
    shares = [curiosity(n) for n in (0.0, 30.0, 300.0, 1e6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 1.2 * shares[-1] > 0
