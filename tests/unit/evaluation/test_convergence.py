"""When a level counts as settled."""

from __future__ import annotations

import numpy as np
import pytest

from shared.routing.convergence import Belief, probability_best, standing_of, weighted_belief


def test_the_probability_of_being_best_agrees_with_simulation() -> None:
    beliefs = [Belief(0.5, 0.1), Belief(0.55, 0.02), Belief(0.4, 0.3)]
    draws = np.random.default_rng(0).normal(
        [b.mean for b in beliefs], [b.sd for b in beliefs], (400_000, 3)
    )
    simulated = np.bincount(draws.argmax(axis=1), minlength=3) / 400_000
    assert probability_best(beliefs) == pytest.approx(simulated, abs=3e-3)


def test_a_far_leader_is_best_for_sure() -> None:
    assert probability_best([Belief(1.0, 1e-6), Belief(0.0, 0.1)])[0] == pytest.approx(1.0)


def test_a_steady_lead_is_converged_since_it_was_clear() -> None:
    unclear = {"a": Belief(0.55, 0.1), "b": Belief(0.5, 0.1)}
    clear = {"a": Belief(0.6, 0.01), "b": Belief(0.5, 0.01)}
    standing = standing_of([{}, unclear, *[clear] * 9])
    assert standing is not None
    assert standing.converged
    assert standing.converged_since == 2
    assert standing.leader == "a"


def test_a_lead_that_a_further_week_would_undo_is_not_converged() -> None:
    days = [{"a": Belief(0.7 - 0.02 * d, 0.005), "b": Belief(0.5, 0.005)} for d in range(7)]
    standing = standing_of(days)
    assert standing is not None
    assert standing.probability_best > 0.99
    assert not standing.converged
    assert standing.converged_since is None
    assert "further week" in standing.reason


def test_one_model_or_one_day_settles_nothing() -> None:
    assert standing_of([]) is None
    assert standing_of([{"a": Belief(0.5, 0.1)}]) is None
    one_day = standing_of([{"a": Belief(0.9, 0.01), "b": Belief(0.1, 0.01)}])
    assert one_day is not None
    assert not one_day.converged


def test_a_weighted_belief_has_the_self_normalised_mean_and_its_error() -> None:
    rng = np.random.default_rng(1)
    w, r = rng.uniform(1, 5, 300), rng.random(300)
    found = weighted_belief(
        w.sum(), (w * r).sum(), (w**2).sum(), (w**2 * r).sum(), (w**2 * r**2).sum()
    )
    assert found is not None
    value = (w * r).sum() / w.sum()
    assert found.mean == pytest.approx(value)
    assert found.sd == pytest.approx(np.sqrt((w**2 * (r - value) ** 2).sum()) / w.sum())
    assert weighted_belief(1.0, 0.5, 1.0, 0.5, 0.25) is None
