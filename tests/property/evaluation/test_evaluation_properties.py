"""What holds for every log."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.convergence import Belief, probability_best
from shared.routing.evaluation import (
    effective_sample_size,
    importance_weights,
    inverse_propensity,
    overlap_report,
    self_normalized,
)
from shared.routing.sequences import DifferenceSequence, MeanSequence

rewards = st.floats(-10, 10)
shares = st.floats(0.01, 1.0)
logs = st.lists(st.tuples(rewards, shares, shares), min_size=1, max_size=50)


@given(logs)
def test_the_self_normalised_estimate_stays_within_the_rewards(
    log: list[tuple[float, float, float]],
) -> None:
    r, p, q = zip(*log, strict=True)
    assert min(r) - 1e-9 <= self_normalized(r, p, q) <= max(r) + 1e-9


@given(logs)
def test_a_policy_that_judges_itself_earns_the_mean(
    log: list[tuple[float, float, float]],
) -> None:
    r, p, _ = zip(*log, strict=True)
    assert inverse_propensity(r, p, p) == pytest.approx(np.mean(r), abs=1e-9)


@given(logs, st.floats(0.1, 10))
def test_the_effective_sample_size_is_between_one_and_n_and_ignores_scale(
    log: list[tuple[float, float, float]], scale: float
) -> None:
    _, p, q = zip(*log, strict=True)
    w = importance_weights(p, q)
    found = effective_sample_size(w)
    assert 1 - 1e-9 <= found <= len(log) + 1e-9
    assert effective_sample_size(w * scale) == pytest.approx(found)


@given(st.lists(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), min_size=1, max_size=20))
def test_full_support_leaves_nothing_out(table: list[list[float]]) -> None:
    logging = np.array(table) / np.sum(table, axis=1, keepdims=True)
    found = overlap_report([0] * len(table), logging, np.roll(logging, 1, axis=1))
    assert found.not_evaluable_share == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_a_mean_sequence_contains_the_mean_so_far(values: list[float]) -> None:
    sequence = MeanSequence()
    for value in values:
        sequence = sequence.updated(value)
    lower, upper = sequence.bounds()
    assert lower <= np.mean(values) + 1e-9
    assert upper >= np.mean(values) - 1e-9


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.2, 0.8)), max_size=40),
    st.integers(0, 2**32),
)
def test_the_state_after_json_goes_on_as_before(
    values: list[tuple[float, bool, float]], seed: int
) -> None:
    once = again = DifferenceSequence(smallest_share=0.2)
    for reward, canary, share in values:
        once = once.updated(reward, canary, share=share)
        again = DifferenceSequence.from_json(again.updated(reward, canary, share=share).to_json())
    assert once == again


@given(st.lists(st.builds(Belief, st.floats(-5, 5), st.floats(0, 3)), min_size=1, max_size=8))
def test_probabilities_of_being_best_are_a_distribution(beliefs: list[Belief]) -> None:
    found = probability_best(beliefs)
    assert sum(found) == pytest.approx(1)
    assert all(-1e-12 <= p <= 1 + 1e-12 for p in found)
