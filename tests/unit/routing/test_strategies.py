from __future__ import annotations

import math
import random

import pytest

from shared.routing.strategies import action_probabilities, draw, optimistic_shares, uniform


def test_shares_agree_with_drawing_the_optimism() -> None:
    means, deviations = [0.5, 0.49, 0.4, 0.1], [0.01, 0.05, 0.1, 0.05]
    rng = random.Random(1)
    wins = [0] * 4
    for _ in range(40_000):
        z = rng.uniform(0.0, 2.0)
        drawn = [m + z * s for m, s in zip(means, deviations, strict=True)]
        wins[drawn.index(max(drawn))] += 1
    found = optimistic_shares(means, deviations)
    assert [w / 40_000 for w in wins] == pytest.approx(found, abs=0.01)
    # Crossings at 0.25 and 1.8 of 2.
    assert found == pytest.approx([0.125, 0.775, 0.1, 0.0])


def test_an_action_below_another_in_mean_and_deviation_has_no_share() -> None:
    assert optimistic_shares([1.0, 0.0], [0.02, 0.01]) == [1.0, 0.0]


def test_equal_actions_share() -> None:
    assert optimistic_shares([0.5, 0.5, 0.4], [0.1] * 3) == [0.5, 0.5, 0.0]


def test_without_any_doubt_the_best_mean_has_all() -> None:
    assert optimistic_shares([0.1, 0.3, 0.2], [0.0] * 3) == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("n", [2, 22, 200])
def test_thompson_leaves_every_action_something(n: int) -> None:
    """The best by evidence too, where optimism would never take it."""
    found = action_probabilities(
        "thompson",
        [0.9, *([0.1] * (n - 1))],
        [0.0, *([9.0] * (n - 1))],
        0,
        scale=1.0,
        epsilon=0.1,
        max_share=1.0,
        allowed=[True] * n,
    )
    assert min(found) >= 0.001 / n
    assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)


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
