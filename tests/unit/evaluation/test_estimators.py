"""Estimators against independent implementations and against a known truth."""

from __future__ import annotations

import doctest
import functools
import importlib
from collections import Counter
from typing import Any

import numpy as np
import pytest

from shared.routing.evaluation import (
    direct_method,
    doubly_robust,
    effective_sample_size,
    importance_weights,
    inverse_propensity,
    overlap_report,
    self_normalized,
    weight_cap_of,
)
from shared.routing.intervals import bootstrap_interval, empirical_bernstein_interval
from shared.routing.reward_model import ESTIMATORS, LoggedDecisions, cross_fit, estimates_of


def make_log(n: int, seed: int, k: int = 4) -> dict[str, Any]:
    """Logged decisions whose truth is known: 3 groups, k actions, epsilon-greedy."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).uniform(0.2, 0.9, (3, k))
    groups = rng.integers(0, 3, n)
    logging = np.full((n, k), 0.4 / k)
    logging[:, 0] += 0.6
    cumulative = logging.cumsum(axis=1)
    actions = (rng.random(n)[:, None] > cumulative).sum(axis=1).clip(0, k - 1)
    rows = np.arange(n)
    target = np.full((n, k), 0.1 / k)
    target[rows, means.argmax(axis=1)[groups]] += 0.9
    best = means.argmax(axis=1)
    truth = float(np.mean([0.9 * means[g, best[g]] + 0.1 * means[g].mean() for g in range(3)]))
    rewards = (rng.random(n) < means[groups, actions]).astype(np.float64)
    return {
        "rewards": rewards, "actions": actions, "propensities": logging[rows, actions],
        "groups": groups, "logging": logging, "target": target, "truth": truth,
        "shown": target[rows, actions],
    }  # fmt: skip


def logged_of(log: dict[str, Any], n_features: int = 2) -> LoggedDecisions:
    n = log["rewards"].size
    features = np.random.default_rng(5).normal(size=(n, n_features))
    return LoggedDecisions(
        log["rewards"], log["actions"], log["propensities"], log["groups"], features
    )


@pytest.mark.parametrize(
    "module", ["evaluation", "intervals", "sequences", "convergence", "reward_model"]
)
def test_the_examples_in_the_docstrings_hold(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"shared.routing.{module}")).failed == 0


@pytest.mark.parametrize("seed", range(5))
def test_ips_and_snips_equal_vw_estimators(seed: int) -> None:
    from estimators.bandits import ips, snips

    log = make_log(700, seed)
    theirs, normalised = ips.Estimator(), snips.Estimator()
    for p, r, q in zip(log["propensities"], log["rewards"], log["shown"], strict=True):
        theirs.add_example(p, r, q)
        normalised.add_example(p, r, q)
    arguments = (log["rewards"], log["propensities"], log["shown"])
    assert inverse_propensity(*arguments) == pytest.approx(theirs.get(), abs=1e-9)
    assert self_normalized(*arguments) == pytest.approx(normalised.get(), abs=1e-9)


def test_ips_equals_coba() -> None:
    from coba.environments.filters import OpeRewards

    log = make_log(500, 3)
    actions = list(range(4))
    interactions = [
        {"context": None, "actions": actions, "action": int(a), "reward": r, "probability": p}
        for a, r, p in zip(
            log["actions"], log["rewards"].tolist(), log["propensities"].tolist(), strict=True
        )
    ]
    found = OpeRewards("IPS").filter(interactions)
    theirs = [
        sum(log["target"][i, a] * interaction["rewards"](a) for a in actions)
        for i, interaction in enumerate(found)
    ]
    ours = inverse_propensity(log["rewards"], log["propensities"], log["shown"])
    assert ours == pytest.approx(float(np.mean(theirs)), abs=1e-9)


@pytest.mark.parametrize("cap", [None, 1.5])
def test_dm_and_dr_equal_the_formula_written_as_loops(cap: float | None) -> None:
    log = make_log(300, 1)
    q_hat = np.random.default_rng(2).random((300, 4))
    model, corrected = [], []
    for i in range(300):
        value = sum(log["target"][i, a] * q_hat[i, a] for a in range(4))
        weight = log["shown"][i] / log["propensities"][i]
        weight = weight if cap is None else min(weight, cap)
        model.append(value)
        corrected.append(value + weight * (log["rewards"][i] - q_hat[i, log["actions"][i]]))
    assert direct_method(q_hat, log["target"]) == pytest.approx(np.mean(model), abs=1e-9)
    ours = doubly_robust(
        log["rewards"], log["actions"], log["propensities"], q_hat, log["target"], weight_cap=cap
    )
    assert ours == pytest.approx(np.mean(corrected), abs=1e-9)


def test_leaving_one_out_in_closed_form_equals_leaving_one_out() -> None:
    log = make_log(60, 7)
    logged = logged_of(log, 0)
    ours = cross_fit(logged, log["target"]).q_hat
    for i in (0, 17, 59):
        changed = logged.rewards.copy()
        changed[i] = ours[i, logged.actions[i]]
        # Ridge with its own left-out prediction as the observation is ridge without the row.
        again = cross_fit(
            LoggedDecisions(
                changed, logged.actions, logged.propensities, logged.groups, logged.features
            ),
            log["target"],
        )
        assert again.q_hat[i] == pytest.approx(ours[i], abs=1e-9)
        assert again.residuals[i] == pytest.approx(0.0, abs=1e-9)


def test_the_estimators_find_a_known_truth() -> None:
    log = make_log(40_000, 11)
    found = estimates_of(logged_of(log), log["target"], resamples=200)
    assert tuple(found) == ESTIMATORS
    for estimate in found.values():
        assert estimate.value == pytest.approx(log["truth"], abs=0.03)


@functools.cache
def coverage_of_95_percent_intervals(n: int, runs: int = 600) -> dict[str, float]:
    """Share of simulated logs of n decisions whose interval holds the truth, by estimator."""
    inside = Counter[str]()
    for seed in range(runs):
        log = make_log(n, seed)
        for name, found in estimates_of(
            logged_of(log), log["target"], resamples=400, seed=seed
        ).items():
            inside[name] += found.lower <= log["truth"] <= found.upper
    return {name: inside[name] / runs for name in ESTIMATORS}


@pytest.mark.parametrize("n", [500, 2_000])
@pytest.mark.parametrize("name", ["snips", "dr", "dr_clipped"])
def test_95_percent_intervals_cover_93_to_97_percent(name: str, n: int) -> None:
    assert 0.93 <= coverage_of_95_percent_intervals(n)[name] <= 0.97


def test_a_cap_that_cuts_away_what_the_model_gets_wrong_widens_the_interval() -> None:
    # The target's action is worth much more where it is rarely shown, which no group tells.
    rng = np.random.default_rng(3)
    n = 4_000
    rare = rng.random(n) < 0.3
    chance = np.where(rare, 0.02, 0.98)
    actions = (rng.random(n) < chance).astype(np.int64)
    logged = LoggedDecisions(
        rewards=np.where(rare & (actions == 1), 5.0, 0.0),
        actions=actions,
        propensities=np.where(actions == 1, chance, 1.0 - chance),
        groups=np.zeros(n, dtype=np.int64),
        features=np.zeros((n, 0)),
    )
    target = np.tile([0.0, 1.0], (n, 1))
    truth = 5.0 * float(rare.mean())
    found = estimates_of(logged, target, weight_cap=1.5, resamples=200)["dr_clipped"]
    assert abs(found.value - truth) > 0.5
    assert found.lower <= truth <= found.upper


def test_the_cap_grows_with_the_log_but_slower_than_a_weight_could_dominate() -> None:
    assert weight_cap_of(10) == 2.0
    assert weight_cap_of(40_000) == pytest.approx(2.0 * weight_cap_of(10_000))
    log = make_log(900, 4)
    by_default, by_hand = (
        estimates_of(logged_of(log), log["target"], weight_cap=cap, resamples=100)["dr_clipped"]
        for cap in (None, weight_cap_of(900))
    )
    assert by_default == by_hand


def test_the_models_own_estimates_are_those_of_the_formulas() -> None:
    log = make_log(400, 8)
    q_hat = cross_fit(logged_of(log), log["target"]).q_hat
    found = estimates_of(logged_of(log), log["target"], resamples=100)
    arguments = (log["rewards"], log["actions"], log["propensities"], q_hat, log["target"])
    assert found["dm"].value == pytest.approx(direct_method(q_hat, log["target"]), abs=1e-12)
    assert found["dr"].value == pytest.approx(doubly_robust(*arguments), abs=1e-12)
    capped = doubly_robust(*arguments, weight_cap=weight_cap_of(400))
    assert found["dr_clipped"].value == pytest.approx(capped, abs=1e-12)


def test_the_task_is_part_of_the_context() -> None:
    log = make_log(4_000, 2)
    fit = cross_fit(logged_of(log, 0), log["target"])
    means = np.random.default_rng(99).uniform(0.2, 0.9, (3, 4))
    for group in range(3):
        predicted = fit.q_hat[log["groups"] == group].mean(axis=0)
        assert predicted == pytest.approx(means[group], abs=0.12)


def test_empirical_bernstein_never_covers_too_little() -> None:
    rng = np.random.default_rng(0)
    misses = 0
    for _ in range(500):
        lower, upper = empirical_bernstein_interval(rng.random(200) ** 3, low=0.0, high=1.0)
        misses += not lower <= 0.25 <= upper
    assert misses <= 25


def test_missing_support_is_counted_and_named() -> None:
    logging = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    target = np.array([[0.0, 0.5, 0.5], [0.0, 1.0, 0.0]])
    found = overlap_report([0, 1], logging, target)
    assert found.not_evaluable_share == pytest.approx(0.5)
    assert found.not_evaluable_share_by_action == pytest.approx((0.0, 0.25, 0.25))
    assert found.max_weight == 2.0
    assert found.effective_sample_size == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: importance_weights([0.0], [0.5]),
        lambda: importance_weights([0.5], [1.5]),
        lambda: importance_weights([0.5, 0.5], [0.5]),
        lambda: importance_weights([0.5], [0.5], weight_cap=0.0),
        lambda: inverse_propensity([float("nan")], [0.5], [0.5]),
        lambda: self_normalized([1.0], [0.5], [0.0]),
        lambda: direct_method([[0.5, 0.5]], [[0.5, 0.6]]),
        lambda: doubly_robust([1.0], [2], [0.5], [[0.5, 0.5]], [[0.5, 0.5]]),
        lambda: bootstrap_interval([1.0]),
        lambda: bootstrap_interval([1.0, 2.0], confidence_level=1.0),
        lambda: empirical_bernstein_interval([2.0, 0.5], low=0.0, high=1.0),
        lambda: overlap_report([1], [[1.0, 0.0]], [[1.0, 0.0]]),
    ],
)
def test_impossible_input_is_refused(call: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        call()


def test_equal_terms_have_an_interval_of_no_width() -> None:
    assert bootstrap_interval([0.25] * 10) == (0.25, 0.25)
    assert effective_sample_size([0.0, 0.0]) == 0.0
