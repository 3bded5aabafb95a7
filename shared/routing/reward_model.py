"""The reward model of the direct method and doubly robust estimates, cross-fitted exactly.

One ridge regression over ``[1, action, group, group x action, features, aim]``: an action's reward
starts from the mean of all, moves with the action, with the group (level and task) and with the
action within the group, each step shrunk, plus a linear part in the features that all actions
share. ``aim`` is P(action | context) under the judged policy: a policy worth judging takes actions
that are better than their action and group alone would say, and shrinking would take exactly that
away from it (the clever covariate of targeted learning, without the weights' noise).

Ridge has leave-one-out predictions in closed form, so every row is predicted by a model that has
not seen it (cross-fitting with n folds, without chance and at the price of one fit).

References
----------
van der Laan, M. and Rose, S. (2011). "Targeted Learning." Springer. Chapter 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shared.routing.arrays import FloatArray, IntArray
from shared.routing.evaluation import (
    Estimate,
    effective_sample_size,
    importance_weights,
    inverse_propensity,
    self_normalized,
    weight_cap_of,
)
from shared.routing.intervals import bootstrap_interval

__all__ = ["ESTIMATORS", "CrossFit", "LoggedDecisions", "cross_fit", "estimates_of"]

ESTIMATORS: Final = ("ips", "snips", "dm", "dr", "dr_clipped")

# Penalties, in observations: how many it takes before a block is believed half. Chosen by simulated
# logs of three recorded sources together, for error and coverage.
_PENALTY_ACTION: Final = 8.0
_PENALTY_GROUP: Final = 8.0
_PENALTY_GROUP_ACTION: Final = 18.0
_PENALTY_FEATURE: Final = 1_200.0
_PENALTY_AIM: Final = 50.0
_PENALTY_INTERCEPT: Final = 1e-6
# A row this influential would be divided by almost nothing.
_MAX_LEVERAGE: Final = 0.999


@dataclass(frozen=True, slots=True)
class LoggedDecisions:
    """Logged decisions as arrays; n decisions, k actions.

    Attributes
    ----------
    rewards, propensities : ndarray of shape (n,)
        Reward in any unit; logging probability of the shown action, in (0, 1].
    actions, groups : ndarray of int, shape (n,)
        Shown action in [0, k); group of the context (such as level and task), from 0 on.
    features : ndarray of shape (n, d)
        What else is known of the context; d may be 0.
    """

    rewards: FloatArray
    actions: IntArray
    propensities: FloatArray
    groups: IntArray
    features: FloatArray


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Leave-one-out predictions, and what turns them into honest standard errors.

    ``q_hat`` has shape (n, k); ``residuals`` are ``rewards - q_hat[shown]``.
    """

    q_hat: FloatArray
    residuals: FloatArray
    _design: FloatArray
    _smoother: FloatArray
    _inverse: FloatArray
    _layout: _Layout

    def total_weights(self, weights: FloatArray) -> FloatArray:
        """Return the weight that each reward has in the estimate, the model's part included.

        Ridge is linear in the rewards, so a doubly robust estimate is a weighted sum of them:
        ``weights`` directly, and the rest through the fitted model. Variances computed with
        these weights include the model's own uncertainty.

        References
        ----------
        Bruns-Smith, D., Dukes, O., Feller, A. and Ogburn, E. (2023). "Augmented balancing weights
        as linear regression." arXiv:2304.14545.
        """
        return np.asarray(weights + self._smoother @ self._left_to_model(weights))

    def expected_squared_bias(self, weights: FloatArray) -> float:
        """Return what shrinking is expected to cost the sum of which ``weights`` is a part.

        The coefficients are as large as the penalties say, ``noise / penalty`` squared on average;
        what ``weights`` leave to the model loses the part that is shrunk away.
        """
        lost = self._inverse @ self._left_to_model(weights)
        noise = float(np.mean(self.residuals**2))
        return noise * float(self._layout.penalties() @ (lost * lost))

    def _left_to_model(self, weights: FloatArray) -> FloatArray:
        return np.asarray(self._layout.summed() - self._design.T @ weights)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Columns of the design: intercept, actions, groups, groups x actions, features, aim."""

    n_groups: int
    groups: IntArray
    features: FloatArray
    target: FloatArray

    @property
    def n_actions(self) -> int:
        return int(self.target.shape[1])

    @property
    def width(self) -> int:
        return self._offset + int(self.features.shape[1]) + 1

    @property
    def _offset(self) -> int:
        return 1 + self.n_actions + self.n_groups + self.n_groups * self.n_actions

    def cells(self, actions: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        k, g = self.n_actions, self.n_groups
        return 1 + actions, 1 + k + self.groups, 1 + k + g + self.groups * k + actions

    def design(self, actions: IntArray) -> FloatArray:
        matrix = np.zeros((actions.size, self.width))
        rows = np.arange(actions.size)
        matrix[:, 0] = 1.0
        for columns in self.cells(actions):
            matrix[rows, columns] = 1.0
        matrix[:, self._offset : -1] = self.features
        matrix[:, -1] = self.target[rows, actions]
        return matrix

    def penalties(self) -> FloatArray:
        k, g = self.n_actions, self.n_groups
        sizes = (1, k, g, g * k, self.features.shape[1], 1)
        values = (
            _PENALTY_INTERCEPT, _PENALTY_ACTION, _PENALTY_GROUP, _PENALTY_GROUP_ACTION,
            _PENALTY_FEATURE, _PENALTY_AIM,
        )  # fmt: skip
        return np.repeat(np.asarray(values), sizes)

    def applied(self, table: FloatArray, action: int) -> FloatArray:
        """Return ``table`` times the design row of ``action`` in every context.

        ``table`` has one row for all contexts (coefficients) or one row each.
        """
        n = self.groups.size
        shown = np.full(n, action, dtype=np.int64)
        rows = np.arange(n) if table.shape[0] == n else np.zeros(n, dtype=np.int64)
        sums = table[rows, 0] + sum(table[rows, c] for c in self.cells(shown))
        linear = (table[:, self._offset : -1] * self.features).sum(axis=1)
        return np.asarray(sums + linear + table[:, -1] * self.target[:, action])

    def summed(self) -> FloatArray:
        """Return the sum over contexts of the design rows expected under the judged policy."""
        by_group = np.zeros((self.n_groups, self.n_actions))
        np.add.at(by_group, self.groups, self.target)
        counts = by_group.sum(axis=1)
        return np.concatenate(
            [
                [float(self.groups.size)],
                by_group.sum(axis=0),
                counts,
                by_group.ravel(),
                self.features.sum(axis=0),
                [float((self.target * self.target).sum())],
            ]
        )


def cross_fit(logged: LoggedDecisions, target_distribution: FloatArray) -> CrossFit:
    """Fit the reward model once; predict every row as if it had been left out.

    Parameters
    ----------
    logged
        Rewards, actions and contexts; features are standardised here.
    target_distribution : ndarray of shape (n, k)
        The judged policy's probabilities in the logged contexts.

    Returns
    -------
    CrossFit
        ``q_hat[i, a]`` does not depend on ``rewards[i]``.

    Notes
    -----
    With ``e`` the residuals and ``h_ij = z_i' A^-1 z_j``, leaving row i out changes a prediction
    at ``z`` by ``-(z' A^-1 z_i) e_i / (1 - h_ii)``. O(n d^2 + d^3) for d columns.
    """
    layout = _Layout(
        int(np.max(logged.groups)) + 1,
        logged.groups,
        _standardised(logged.features),
        target_distribution,
    )
    design = layout.design(logged.actions)
    inverse = np.linalg.inv(design.T @ design + np.diag(layout.penalties()))
    coefficients = inverse @ (design.T @ logged.rewards)
    smoother = design @ inverse
    leverage = np.minimum((smoother * design).sum(axis=1), _MAX_LEVERAGE)
    left_out = (logged.rewards - design @ coefficients) / (1.0 - leverage)
    table = coefficients[np.newaxis, :]
    q_hat = np.column_stack(
        [
            layout.applied(table, action) - layout.applied(smoother, action) * left_out
            for action in range(layout.n_actions)
        ]
    )
    shown = q_hat[np.arange(logged.actions.size), logged.actions]
    return CrossFit(q_hat, logged.rewards - shown, design, smoother, inverse, layout)


def estimates_of(
    logged: LoggedDecisions,
    target_distribution: FloatArray,
    *,
    weight_cap: float | None = None,
    confidence_level: float = 0.95,
    resamples: int = 1_000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Estimate the target's mean reward by every estimator, with bootstrap intervals.

    Parameters
    ----------
    logged
        At least two decisions.
    target_distribution : ndarray of shape (n, k)
        The target policy's probabilities in the logged contexts.
    weight_cap
        Cap of ``dr_clipped``; by default ``weight_cap_of(n)``.

    Returns
    -------
    dict
        By the names of ``ESTIMATORS``; ``snips`` is missing if the target never takes a shown
        action.

    Notes
    -----
    The intervals of DM and DR include the uncertainty of the reward model (``total_weights``) and
    what its shrinking may have taken away (``expected_squared_bias``). That of clipped DR allows
    for what the cap may have cut away where the log shows more of that: the difference to DR,
    squared, less what of it is noise. Beyond that no data can show that a model is right where
    nothing was logged.
    """
    n = len(target_distribution)
    rows = np.arange(n)
    target = target_distribution[rows, logged.actions]
    weights = importance_weights(logged.propensities, target)
    ess = effective_sample_size(weights)
    fit = cross_fit(logged, target_distribution)

    def enclosed(value: float, scores: FloatArray, below: FloatArray | None = None) -> Estimate:
        found = bootstrap_interval(
            scores, below, confidence_level=confidence_level, resamples=resamples, seed=seed
        )
        center = float(scores.sum() / (n if below is None else below.sum()))
        shift = value - center
        return Estimate(value, found.lower + shift, found.upper + shift, confidence_level, n, ess)

    weighted = weights * logged.rewards
    found = {
        "ips": enclosed(inverse_propensity(logged.rewards, logged.propensities, target), weighted)
    }
    if weights.any():
        value = self_normalized(logged.rewards, logged.propensities, target)
        found["snips"] = enclosed(value, weighted, weights)
    predicted = (fit.q_hat * target_distribution).sum(axis=1)
    cap = weight_cap_of(n) if weight_cap is None else weight_cap
    capped = importance_weights(logged.propensities, target, weight_cap=cap)
    for name, used in (("dm", np.zeros(n)), ("dr", weights), ("dr_clipped", capped)):
        terms = predicted + fit.total_weights(used) * fit.residuals
        bias = fit.expected_squared_bias(used) / n**2
        if name == "dr_clipped":
            bias = max(bias, _squared_bias_of_cap(fit, weights, used))
        estimate = enclosed(float((predicted + used * fit.residuals).mean()), terms)
        found[name] = _widened(estimate, float(terms.var()) / n, bias)
    return found


def _squared_bias_of_cap(fit: CrossFit, weights: FloatArray, used: FloatArray) -> float:
    """Return what a cap took away from the doubly robust estimate, squared, less its noise."""
    terms = (fit.total_weights(weights) - fit.total_weights(used)) * fit.residuals
    cut = float(((weights - used) * fit.residuals).mean())
    return cut**2 - float(terms.var()) / len(terms)


def _widened(estimate: Estimate, variance: float, squared_bias: float) -> Estimate:
    """Return the estimate with an interval that allows for a bias besides the variance."""
    if variance <= 0.0:
        return estimate
    factor = math.sqrt(1.0 + squared_bias / variance)
    return replace(
        estimate,
        lower=estimate.value - (estimate.value - estimate.lower) * factor,
        upper=estimate.value + (estimate.upper - estimate.value) * factor,
    )


def _standardised(features: FloatArray) -> FloatArray:
    """Return the columns with mean 0 and deviation 1, without those that do not vary."""
    spread = features.std(axis=0)
    varying = spread > 1e-9
    kept = features[:, varying]
    return np.asarray((kept - kept.mean(axis=0)) / spread[varying])
