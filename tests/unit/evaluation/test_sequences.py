"""Confidence sequences: valid under peeking, quick enough to be useful."""

from __future__ import annotations

import json

import numpy as np
import pytest

from infra.bench.rollout import alarms
from shared.routing.sequences import DifferenceSequence, MeanSequence


def rollout(
    seed: int, n: int, share: float, control: float, canary: float
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    is_canary = rng.random(n) < share
    rewards = (rng.random(n) < np.where(is_canary, canary, control)).astype(np.float64)
    return rewards, is_canary


def test_looking_after_every_decision_rolls_back_an_equal_canary_in_at_most_alpha() -> None:
    design = DifferenceSequence(smallest_share=0.2, tuned_for=1_000)
    false = sum(
        bool(alarms(*rollout(seed, 20_000, 0.2, 0.6, 0.6), 0.2, design, 0.02)[0].any())
        for seed in range(400)
    )
    assert false / 400 <= 0.05


def test_a_five_percent_loss_is_found_within_5000_canary_decisions() -> None:
    design = DifferenceSequence(smallest_share=0.1)
    found = 0
    for seed in range(200):
        rewards, canary = rollout(seed, 50_000, 0.1, 0.7, 0.65)
        found += int(alarms(rewards, canary, 0.1, design, 0.02)[0].any())
    assert found / 200 >= 0.9


def test_a_change_of_the_traffic_does_not_look_like_a_difference() -> None:
    design = DifferenceSequence(smallest_share=0.2, tuned_for=1_000)
    false = 0
    for seed in range(200):
        rewards, canary = rollout(seed, 10_000, 0.2, 0.9, 0.9)
        later, _ = rollout(seed + 1_000, 10_000, 0.2, 0.3, 0.3)
        rewards[5_000:] = later[5_000:]
        false += int(alarms(rewards, canary, 0.2, design, 0.02)[0].any())
    assert false / 200 <= 0.05


def test_one_by_one_gives_what_all_at_once_gives() -> None:
    design = DifferenceSequence(smallest_share=0.3, tuned_for=200)
    rewards, canary = rollout(4, 1_500, 0.3, 0.8, 0.55)
    worse, safe = alarms(rewards, canary, 0.3, design, 0.02)
    sequence = design
    for i, (reward, is_canary) in enumerate(zip(rewards, canary, strict=True)):
        sequence = sequence.updated(float(reward), bool(is_canary), share=0.3)
        assert sequence.is_worse() == worse[i]
        assert sequence.is_no_worse_than(0.02) == safe[i]
    assert sequence.is_worse()
    assert sequence.bounds().upper < 0


def test_the_mean_is_covered_at_all_times_in_95_percent_of_the_lives() -> None:
    missed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        sequence = MeanSequence(tuned_for=300)
        for i, value in enumerate((rng.random(600) < 0.3).astype(float)):
            sequence = sequence.updated(value)
            if i % 5 == 0:
                lower, upper = sequence.bounds()
                if not lower <= 0.3 <= upper:
                    missed += 1
                    break
    assert missed <= 5


def test_the_state_survives_json_bit_for_bit() -> None:
    sequence = DifferenceSequence(smallest_share=0.5)
    mean = MeanSequence()
    for n in range(20):
        sequence = sequence.updated(n / 20, n % 2 == 0, share=0.5, expected=0.4)
        mean = mean.updated(n / 20)
    assert DifferenceSequence.from_json(json.loads(json.dumps(sequence.to_json()))) == sequence
    assert MeanSequence.from_json(json.loads(json.dumps(mean.to_json()))) == mean
    assert sequence.n_canary == 10


def test_before_the_first_observation_nothing_is_known() -> None:
    assert MeanSequence().bounds() == (0.0, 1.0)
    assert DifferenceSequence().bounds() == (-1.0, 1.0)
    assert not DifferenceSequence().is_worse()
    assert DifferenceSequence().difference == 0.0


def test_impossible_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="observations"):
        MeanSequence().updated(1.5)
    with pytest.raises(ValueError, match="rewards"):
        DifferenceSequence().updated(-0.1, True, share=0.5)
    with pytest.raises(ValueError, match="share"):
        DifferenceSequence().updated(0.5, True, share=0.01)
    with pytest.raises(ValueError, match="expected"):
        DifferenceSequence().updated(0.5, True, share=0.5, expected=2.0)
    with pytest.raises(ValueError, match="alpha"):
        MeanSequence(alpha=0.0)
    with pytest.raises(ValueError, match="smallest_share"):
        DifferenceSequence(smallest_share=0.6)
    with pytest.raises(ValueError, match="tuned_for"):
        MeanSequence(tuned_for=0)
