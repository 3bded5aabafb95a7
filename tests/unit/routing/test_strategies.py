from __future__ import annotations

import random

import pytest

from shared.routing.strategies import action_probabilities, draw, probability_best, uniform


def test_the_probability_of_being_best_agrees_with_sampling() -> None:
    means, deviations = [0.5, 0.55, 0.4, 0.1], [0.1, 0.05, 0.3, 0.05]
    rng = random.Random(1)
    wins = [0] * 4
    for _ in range(40_000):
        drawn = [rng.gauss(m, s) for m, s in zip(means, deviations, strict=True)]
        wins[drawn.index(max(drawn))] += 1
    expected = probability_best(means, deviations)
    assert [w / 40_000 for w in wins] == pytest.approx(expected, abs=0.015)


def test_a_hopeless_action_is_never_best() -> None:
    assert probability_best([1.0, 0.0], [0.01, 0.01]) == [1.0, 0.0]


def test_equal_actions_share() -> None:
    assert probability_best([0.5, 0.5], [0.1, 0.1]) == pytest.approx([0.5, 0.5])


def test_inverse_gap_explores_close_rivals_more() -> None:
    found = action_probabilities(
        "inverse_gap",
        [0.9, 0.88, 0.1],
        [0.1] * 3,
        0,
        scale=1.0,
        epsilon=0.1,
        max_share=1.0,
        allowed=[True] * 3,
    )
    assert found[0] > found[1] > found[2] > 0


def test_seeds_spread_evenly() -> None:
    points = [uniform(seed) for seed in range(20_000)]
    assert min(points) >= 0.0
    assert max(points) < 1.0
    assert sum(points) / len(points) == pytest.approx(0.5, abs=0.01)


def test_the_last_possible_action_takes_what_rounding_leaves() -> None:
    assert draw([0.3, 0.0, 0.0], seed=12) == 0
