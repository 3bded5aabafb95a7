"""What another policy would have earned: off-policy estimates from logged decisions.

The life of an evaluation: the logging policy drew an action with a stored propensity and a reward
came back; the target policy is asked what it would have done in the same contexts; the estimators
here turn both into the mean reward the target would have earned, with an interval that covers and
a report of what the log cannot tell.

Names: ``n`` logged decisions, ``k`` actions. Arrays ``rewards``, ``propensities`` and
``target_probabilities`` have shape (n,) and speak of the *shown* action; ``q_hat`` and
``target_distribution`` have shape (n, k). Rewards may have any unit; so have the estimates.

======================= ============================ ===========================================
estimator               unbiased if                  variance grows with
======================= ============================ ===========================================
``inverse_propensity``  support is complete          weights times rewards
``self_normalized``     never quite; consistent      weights times distance from the mean
``direct_method``       the reward model is right    the reward model's own
``doubly_robust``       support *or* model is right  weights times the model's residuals
... with a cap          the model is right           capped weights times the residuals
======================= ============================ ===========================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.routing.arrays import FloatArray, distribution, indices, vector
from shared.routing.intervals import bootstrap_interval, empirical_bernstein_interval

__all__ = [
    "Estimate",
    "Overlap",
    "bootstrap_interval",
    "direct_method",
    "doubly_robust",
    "doubly_robust_scores",
    "effective_sample_size",
    "empirical_bernstein_interval",
    "importance_weights",
    "inverse_propensity",
    "overlap_report",
    "self_normalized",
    "weight_cap_of",
]

# The cap of clipped DR grows with the log: its bias vanishes, and where there is little data the
# reward model is trusted more than a few heavy rows.
_CAP_PER_ROOT: Final = 0.05
_LEAST_CAP: Final = 2.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean reward with its uncertainty, in reward units.

    ``effective_sample_size`` is how many decisions drawn by the target policy itself would be
    worth as much as the ``n`` logged ones.
    """

    value: float
    lower: float
    upper: float
    confidence_level: float
    n: int
    effective_sample_size: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far the log can speak for the target policy.

    Attributes
    ----------
    not_evaluable_share
        Mean probability that the target puts on actions which the logging policy could not take:
        0.12 reads "12 % of the traffic is not evaluable".
    not_evaluable_share_by_action
        The same for each action; sums to the total.
    target_share_by_action, logging_share_by_action
        How often each policy takes each action, over the logged contexts.
    max_weight, effective_sample_size
        Of the importance weights of the shown actions.
    """

    n: int
    not_evaluable_share: float
    not_evaluable_share_by_action: tuple[float, ...]
    target_share_by_action: tuple[float, ...]
    logging_share_by_action: tuple[float, ...]
    max_weight: float
    effective_sample_size: float


def importance_weights(
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    *,
    weight_cap: float | None = None,
) -> FloatArray:
    """Return how much more often the target policy would have shown each logged action.

    ``w_i = min(target_probabilities_i / propensities_i, weight_cap)``.

    Parameters
    ----------
    propensities : array-like of shape (n,)
        P(shown action | context) under the logging policy, in (0, 1], as stored at decision time.
    target_probabilities : array-like of shape (n,)
        P(shown action | context) under the target policy, in [0, 1].
    weight_cap : float, optional
        Largest weight; positive.

    Raises
    ------
    ValueError
        If the shapes differ, there are no decisions, or a probability is out of range.
    """
    logged = vector("propensities", propensities)
    target = vector("target_probabilities", target_probabilities, logged.size)
    if not ((logged > 0.0) & (logged <= 1.0)).all():
        raise ValueError("propensities must be in (0, 1]")
    if not ((target >= 0.0) & (target <= 1.0 + 1e-9)).all():
        raise ValueError("target_probabilities must be in [0, 1]")
    weights: FloatArray = target / logged
    if weight_cap is None:
        return weights
    if not weight_cap > 0.0:
        raise ValueError(f"weight_cap must be positive, got {weight_cap}")
    return np.minimum(weights, weight_cap)


def weight_cap_of(n: int) -> float:
    """Return the cap of clipped DR for ``n`` decisions: ``sqrt(n) / 20``, at least 2.

    Of order sqrt(n), as a single weight below it cannot dominate the mean of n terms.

    References
    ----------
    Ionides, E. (2008). "Truncated Importance Sampling." JCGS 17.

    Examples
    --------
    >>> weight_cap_of(10_000)
    5.0
    """
    return max(_LEAST_CAP, _CAP_PER_ROOT * math.sqrt(n))


def inverse_propensity(
    rewards: npt.ArrayLike, propensities: npt.ArrayLike, target_probabilities: npt.ArrayLike
) -> float:
    """Estimate the target's mean reward by weighting what was seen: ``mean(w_i * r_i)``.

    Unbiased wherever the logging policy could take every action the target takes; without that
    support it is too low by the missing part. May leave the range of the rewards.

    Raises
    ------
    ValueError
        As ``importance_weights``; also if a reward is not finite.

    References
    ----------
    Horvitz, D. and Thompson, D. (1952). "A Generalization of Sampling Without Replacement from a
    Finite Universe." JASA 47.

    Examples
    --------
    >>> inverse_propensity([1.0, 0.0, 1.0], [0.5, 0.5, 0.25], [1.0, 0.0, 0.5])
    1.3333333333333333
    """
    weights = importance_weights(propensities, target_probabilities)
    return float(np.mean(weights * vector("rewards", rewards, weights.size)))


def self_normalized(
    rewards: npt.ArrayLike, propensities: npt.ArrayLike, target_probabilities: npt.ArrayLike
) -> float:
    """Estimate the target's mean reward as a weighted mean: ``sum(w_i r_i) / sum(w_i)``.

    Biased of order 1/n and consistent; never leaves the range of the rewards.

    Raises
    ------
    ValueError
        As ``inverse_propensity``; also if every weight is 0: the target never takes a logged
        action, so nothing can be said.

    References
    ----------
    Swaminathan, A. and Joachims, T. (2015). "The Self-Normalized Estimator for Counterfactual
    Learning." NeurIPS 28.

    Examples
    --------
    >>> self_normalized([1.0, 0.0, 1.0], [0.5, 0.5, 0.25], [1.0, 0.5, 0.5])
    0.8
    """
    weights = importance_weights(propensities, target_probabilities)
    total = float(weights.sum())
    if total <= 0.0:
        raise ValueError("every weight is 0: the target policy never takes a logged action")
    return float(weights @ vector("rewards", rewards, weights.size)) / total


def direct_method(q_hat: npt.ArrayLike, target_distribution: npt.ArrayLike) -> float:
    """Estimate the target's mean reward from predictions: ``mean_i sum_a pi(a|x_i) q(x_i, a)``.

    As biased as the reward model, and the only estimator that says something without support.

    Raises
    ------
    ValueError
        If the shapes differ or a row of ``target_distribution`` is no distribution.

    Examples
    --------
    >>> direct_method([[0.2, 0.8], [0.4, 0.6]], [[0.0, 1.0], [0.5, 0.5]])
    0.65
    """
    return float(np.mean(_model_values(q_hat, target_distribution)))


def doubly_robust(
    rewards: npt.ArrayLike,
    actions: npt.ArrayLike,
    propensities: npt.ArrayLike,
    q_hat: npt.ArrayLike,
    target_distribution: npt.ArrayLike,
    *,
    weight_cap: float | None = None,
) -> float:
    """Estimate the target's mean reward by the model, corrected by what the model got wrong.

    ``mean_i [ sum_a pi(a|x_i) q(x_i, a) + w_i (r_i - q(x_i, a_i)) ]``.

    Parameters
    ----------
    rewards, actions, propensities : array-like of shape (n,)
        Reward, index in [0, k) and logging probability of each shown action.
    q_hat : array-like of shape (n, k)
        Predicted reward of every action. Row i must not have been fitted on reward i (see
        ``shared.routing.reward_model``), or the correction corrects too little.
    target_distribution : array-like of shape (n, k)
        P(action | context) under the target policy; rows sum to 1.
    weight_cap : float, optional
        Caps ``w_i``. The bias is at most the mean of ``(w_i - cap)+`` times the model's error.

    Raises
    ------
    ValueError
        If shapes differ, an action is not in [0, k) or a probability is out of range.

    Notes
    -----
    Unbiased without a cap if support is complete *or* the model is right. O(n k), deterministic.

    References
    ----------
    Dudik, M., Langford, J. and Li, L. (2011). "Doubly Robust Policy Evaluation and Learning." ICML.
    Su, Y., Dimakopoulou, M., Krishnamurthy, A. and Dudik, M. (2020). "Doubly Robust Off-policy
    Evaluation with Shrinkage." ICML. Clipping is their "pessimistic" shrinkage.

    Examples
    --------
    >>> doubly_robust([1.0, 0.0], [1, 0], [0.5, 0.5], [[0.0, 0.5], [0.5, 0.5]], [[0, 1], [1, 0]])
    0.5
    """
    scores = doubly_robust_scores(
        rewards, actions, propensities, q_hat, target_distribution, weight_cap=weight_cap
    )
    return float(scores.mean())


def doubly_robust_scores(
    rewards: npt.ArrayLike,
    actions: npt.ArrayLike,
    propensities: npt.ArrayLike,
    q_hat: npt.ArrayLike,
    target_distribution: npt.ArrayLike,
    *,
    weight_cap: float | None = None,
) -> FloatArray:
    """Return the term of each decision whose mean ``doubly_robust`` is; arguments are its."""
    values = _model_values(q_hat, target_distribution)
    predicted = np.asarray(q_hat, dtype=np.float64)
    shown = indices(actions, predicted)
    rows = np.arange(shown.size)
    target = np.asarray(target_distribution, dtype=np.float64)[rows, shown]
    weights = importance_weights(propensities, target, weight_cap=weight_cap)
    residuals = vector("rewards", rewards, shown.size) - predicted[rows, shown]
    return np.asarray(values + weights * residuals)


def effective_sample_size(weights: npt.ArrayLike) -> float:
    """Return Kish's effective sample size ``(sum w)^2 / sum w^2``, in [0, n].

    References
    ----------
    Kish, L. (1965). "Survey Sampling." Section 11.7.

    Examples
    --------
    >>> effective_sample_size([1.0, 1.0, 0.0, 0.0])
    2.0
    """
    w = vector("weights", weights)
    largest = float(np.max(np.abs(w)))
    if largest == 0.0:
        return 0.0
    w = w / largest  # squares of tiny weights would vanish
    return float(w.sum()) ** 2 / float(w @ w)


def overlap_report(
    actions: npt.ArrayLike, logging_distribution: npt.ArrayLike, target_distribution: npt.ArrayLike
) -> Overlap:
    """Say which part of the target policy's choices the log can speak for.

    Parameters
    ----------
    actions : array-like of shape (n,)
        Index of the shown action.
    logging_distribution, target_distribution : array-like of shape (n, k)
        P(action | context) under both policies; rows sum to 1.

    Raises
    ------
    ValueError
        If shapes differ, or a shown action had no probability.

    Examples
    --------
    >>> overlap_report([0, 0], [[1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [1.0, 0.0]]
    ... ).not_evaluable_share
    0.25
    """
    logged = distribution("logging_distribution", logging_distribution)
    target = distribution("target_distribution", target_distribution)
    if logged.shape != target.shape:
        raise ValueError("logging_distribution and target_distribution must have one shape")
    shown = indices(actions, logged)
    rows = np.arange(shown.size)
    weights = importance_weights(logged[rows, shown], target[rows, shown])
    lost = np.where(logged > 0.0, 0.0, target).mean(axis=0)
    return Overlap(
        n=shown.size,
        not_evaluable_share=float(lost.sum()),
        not_evaluable_share_by_action=tuple(lost.tolist()),
        target_share_by_action=tuple(target.mean(axis=0).tolist()),
        logging_share_by_action=tuple(logged.mean(axis=0).tolist()),
        max_weight=float(np.max(weights)),
        effective_sample_size=effective_sample_size(weights),
    )


def _model_values(q_hat: npt.ArrayLike, target_distribution: npt.ArrayLike) -> FloatArray:
    predicted = np.asarray(q_hat, dtype=np.float64)
    target = distribution("target_distribution", target_distribution)
    if predicted.shape != target.shape:
        raise ValueError(f"q_hat has shape {predicted.shape}, target_distribution {target.shape}")
    if not np.isfinite(predicted).all():
        raise ValueError("q_hat must be finite")
    return np.asarray((predicted * target).sum(axis=1))
