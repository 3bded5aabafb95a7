"""From sums to expectations: hierarchical shrinkage, task recognition, slopes, what was like it.

Quality of model m on a prompt x of (perhaps unknown) task t at a level is predicted as::

    E[quality] = sum_t P(t | x) * mean[t, m]  +  (x - centre(x)) . slope[m]

- ``mean[t, m]``: the mean of a cell, shrunk towards (model at the level) + (effect of the task),
  which is shrunk towards the model over all levels, which is shrunk towards its price class;
- ``P(t | x)``: 1 for a task that the caller names and that is known; else a linear discriminant
  on the features of the tasks seen so far (nearly all of the gain of routing is at task level, so
  recognising the task matters more than any regression on the prompt);
- ``slope[m]``: Bayesian linear regression of quality on features *within* tasks, shrunk towards
  the slope that all models share (what makes a prompt hard for everyone), whose strength of
  shrinkage maximises the evidence (MacKay 1992), so small data gives no slope at all.

Where a model has enough feedback, half of the prediction is another view of it: a kernel
regression on the prompt alone, which no wrongly recognised task can mislead (``slopes``).

Under-shrunk learners choose worse than one fixed model; every constant here errs towards shrinking.

References
----------
MacKay, D. (1992). "Bayesian Interpolation." Neural Computation 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from shared.routing import moments as mo
from shared.routing.arrays import FloatArray, clipped
from shared.routing.cells import PRIOR_SERVING, LevelFit, level_fit
from shared.routing.forgetting import discounted
from shared.routing.neighbourhoods import N_LANDMARKS, closeness
from shared.routing.prices import Prices
from shared.routing.slopes import Similar, Slopes, similar_of, slopes_of
from shared.routing.sums import Sums
from shared.routing.types import Level, ModelCard

# Task recognition: observations of a task after which its name is believed as much as its text;
# share of the identity in the covariance; and a temperature, as features are far from normal.
_TRUST_TAG: Final = 10.0
_COVARIANCE_SHRINKAGE: Final = 0.15
_COVARIANCE_PRIOR: Final = 50.0
_TEMPERATURE: Final = 0.5


class Prediction(NamedTuple):
    """What is expected of one model for one request.

    Attributes
    ----------
    quality, quality_sd
        Expected quality in [0, 1] (a failed request has quality 0) and the standard deviation of
        the *expectation*, not of a single answer.
    quality_level
        The same for the average request of the level: what a fixed model is judged by.
    tokens_out, tokens_out_sd
        Expected length of the answer; the deviation is that of a single answer.
    cost_usd, cost_sd
        From tokens and price.
    latency_ms, latency_sd
        Expected wall time and the deviation of a single answer.
    n
        Feedbacks behind ``quality`` at this level.
    price_known
        False where the price of the price class stands in.
    """

    model: str
    quality: float
    quality_sd: float
    quality_level: float
    tokens_out: float
    tokens_out_sd: float
    cost_usd: float
    cost_sd: float
    latency_ms: float
    latency_sd: float
    n: float
    price_known: bool


class _Places(NamedTuple):
    """Where the tasks of a level lie: discriminant weights, biases and centres of the slopes."""

    weights: FloatArray  # (N_TEXT_FEATURES, n_tasks)
    bias: FloatArray  # (n_tasks,)
    centres: FloatArray  # (n_tasks, N_SLOPES)


class _Aligned(NamedTuple):
    """Slopes and similar view in the order of a fit's models; zero for a model without them."""

    deviation: FloatArray  # (n_models, N_SLOPES)
    uncertainty: FloatArray  # (n_models, N_SLOPES): posterior variance along the axes
    similar: FloatArray  # (n_models, N_LANDMARKS)
    share: FloatArray  # (n_models,)


class Posterior:
    """Expectations of one learner state; solves each level when it is first asked for."""

    def __init__(self, state: Sums) -> None:
        self._state = state
        self._fits: dict[tuple[Level, tuple[tuple[str, float], ...]], LevelFit] = {}
        self._aligned: dict[int, _Aligned] = {}
        self._places: dict[Level, _Places] = {}

    def predict(
        self,
        features: Sequence[float] | FloatArray,
        level: Level,
        task_type: str | None,
        tokens_in: int,
        max_tokens_out: int | None,
        models: Sequence[ModelCard],
        prices: Prices,
    ) -> tuple[Prediction, ...]:
        """See ``LearnerState.predict``."""
        fit = self._fit(level, prices)
        whole = vector = None
        if mo.usable(features):
            whole = mo.fixed_point(np.asarray(features, dtype=np.float64))
            vector = whole / mo.FEATURE_UNIT
        trust = self._trust(fit, task_type, vector)
        weights = self._task_weights(fit, level, task_type, vector, trust)
        mean = weights @ fit.mean
        variance = weights @ fit.variance
        if vector is not None and fit.tasks:
            common, apart, extra = self._slope_part(fit, level, weights, vector[mo.SLOPES])
            mean = mean + apart
            # What is hard for everybody may not push several models to the same end of the scale,
            # where their order would be lost.
            low, high = float(mean.min()), float(mean.max())
            mean = mean + min(max(common, min(0.0, 0.03 - low)), max(0.0, 0.97 - high))
            variance = variance + extra
        if whole is not None:
            mean = self._with_similar(fit, level, whole, mean, 1.0 - trust)
        # Ten decimals: far below what is known, above what differs between processors.
        quality = (clipped(mean, 0.0, 1.0) * fit.success).round(10).tolist()
        deviation = np.sqrt(variance).round(10).tolist()
        served = (weights @ fit.served).round(6).reshape(4, -1).T.tolist()
        found = []
        for card in models:
            i = fit.models[card.id]
            price = prices[card.id]
            tokens, tokens2, latency, latency2 = served[i]
            tokens_sd = math.sqrt(max(0.0, tokens2 - tokens * tokens))
            if max_tokens_out is not None:
                tokens = min(tokens, max_tokens_out)
            if card.max_tokens_out is not None:
                tokens = min(tokens, card.max_tokens_out)
            cost = price.cost_usd(tokens_in, tokens)
            if not price.known:  # what was billed so far says more than a stand-in
                n = float(fit.n_billed[i])
                cost = (n * float(fit.billed[i]) + PRIOR_SERVING * cost) / (n + PRIOR_SERVING)
            latency_sd = math.sqrt(max(0.0, latency2 - latency * latency))
            found.append(
                Prediction(
                    card.id, quality[i], deviation[i], fit.quality_level[i], tokens, tokens_sd,
                    cost, price.cost_usd(0, tokens_sd), latency, latency_sd, fit.counts[i],
                    price.known,
                )
            )  # fmt: skip
        return tuple(found)

    # -- which task -------------------------------------------------------------------------

    def _trust(self, fit: LevelFit, task: str | None, vector: FloatArray | None) -> float:
        """Return how far the task's name is believed rather than the text."""
        if task is None or task not in fit.tasks:
            return 0.0
        n = fit.n_task[fit.tasks[task]]
        return 1.0 if vector is None else float(n / (n + _TRUST_TAG))

    def _task_weights(
        self,
        fit: LevelFit,
        level: Level,
        task: str | None,
        vector: FloatArray | None,
        trust: float,
    ) -> FloatArray:
        """Return P(task) over the level's tasks and, last, a task never seen."""
        weights = np.zeros(len(fit.tasks) + 1)
        if task is not None and trust > 0.0:
            weights[fit.tasks[task]] = trust
        if trust == 1.0:
            return weights
        if vector is None or len(fit.tasks) == 0:
            weights += (1.0 - trust) * fit.share
            return weights
        places = self._places_of(level, fit)
        logits = _TEMPERATURE * (vector @ places.weights + places.bias)
        odds = np.exp(logits - logits.max())
        weights[:-1] += (1.0 - trust) * odds / odds.sum()
        return weights

    def _places_of(self, level: Level, fit: LevelFit) -> _Places:
        if level in self._places:
            return self._places[level]
        state = self._state
        n = np.zeros(len(fit.tasks))
        total = np.zeros((len(fit.tasks), self._grand_mean.size))
        for task, i in fit.tasks.items():
            if (level, task) in state.tasks:
                place = state.tasks[(level, task)]
                n[i], total[i] = place.n, place.features / mo.FEATURE_UNIT
        centres = (total + self._grand_mean) / (n[:, None] + 1.0)
        weights = np.linalg.solve(self._covariance, centres.T)
        bias = -0.5 * (centres.T * weights).sum(axis=0) + np.log((n + 0.5) / (n.sum() + 1.0))
        places = _Places(weights, bias, centres[:, mo.SLOPES])
        self._places[level] = places
        return places

    @cached_property
    def _n(self) -> int:
        return sum(place.n for place in self._state.tasks.values())

    @cached_property
    def _grand_mean(self) -> FloatArray:
        total = np.zeros(len(self._state.scatter))
        for place in self._state.tasks.values():
            total += place.features
        return total / mo.FEATURE_UNIT / max(1, self._n)

    @cached_property
    def _within(self) -> FloatArray:
        """Sum over observations of the outer product of (features - their task's mean)."""
        within = self._state.scatter.astype(np.float64)
        for place in self._state.tasks.values():
            within -= np.outer(place.features, place.features / place.n)
        return within / mo.FEATURE_UNIT**2

    @cached_property
    def _covariance(self) -> FloatArray:
        identity = np.eye(len(self._within))
        pooled = (self._within + _COVARIANCE_PRIOR * identity) / (self._n + _COVARIANCE_PRIOR)
        return (1.0 - _COVARIANCE_SHRINKAGE) * pooled + _COVARIANCE_SHRINKAGE * identity

    # -- slopes -----------------------------------------------------------------------------

    def _slope_part(
        self, fit: LevelFit, level: Level, weights: FloatArray, vector: FloatArray
    ) -> tuple[float, FloatArray | float, FloatArray | float]:
        """Return what the prompt adds for all models, for each, and the variance of that."""
        slopes = self._slopes
        if slopes is None:
            return 0.0, 0.0, 0.0
        aligned = self._aligned_to(fit)
        known = weights[:-1]
        away = known.sum() * vector - known @ self._places_of(level, fit).centres
        along = away @ slopes.basis
        extra = aligned.uncertainty @ (along * along)
        return float(along @ slopes.common), aligned.deviation @ along, extra

    def _aligned_to(self, fit: LevelFit) -> _Aligned:
        if id(fit) not in self._aligned:  # the fit lives as long as this object
            n = len(fit.models)
            aligned = _Aligned(
                np.zeros((n, mo.N_SLOPES)), np.zeros((n, mo.N_SLOPES)),
                np.zeros((n, N_LANDMARKS)), np.zeros(n),
            )  # fmt: skip
            for model, i in fit.models.items():
                if self._slopes is not None and model in self._slopes.models:
                    row = self._slopes.models[model]
                    aligned.deviation[i] = self._slopes.deviation[row]
                    aligned.uncertainty[i] = 1.0 / self._slopes.precision[row]
                if self._similar is not None and model in self._similar.models:
                    row = self._similar.models[model]
                    aligned.similar[i] = self._similar.weights[row]
                    aligned.share[i] = self._similar.share[row]
            self._aligned[id(fit)] = aligned
        return self._aligned[id(fit)]

    @cached_property
    def _slopes(self) -> Slopes | None:
        return slopes_of(self._state, self._within, self._n)

    # -- what was like it -------------------------------------------------------------------

    def _with_similar(
        self, fit: LevelFit, level: Level, vector: mo.IntArray, mean: FloatArray, part: float
    ) -> FloatArray:
        """Return ``mean`` moved towards what the similar view expects of the prompt.

        ``part`` is what of that view's share counts: none of it where the task is known by name.
        """
        similar = self._similar
        if similar is None or level not in similar.usual:
            return mean
        aligned = self._aligned_to(fit)
        away = closeness(vector) - similar.usual[level]
        expected = fit.at_level + aligned.similar @ away
        moved: FloatArray = mean + part * aligned.share * (expected - mean)
        return moved

    @cached_property
    def _similar(self) -> Similar | None:
        return similar_of(self._state)

    # -- means ------------------------------------------------------------------------------

    def _fit(self, level: Level, prices: Prices) -> LevelFit:
        key = (level, prices.classes)
        if key not in self._fits:
            if len(self._fits) > 16:  # prices changed many times under one state
                self._fits.clear()
                self._aligned.clear()
            self._fits[key] = level_fit(self._state, self._discounted, level, dict(prices.classes))
        return self._fits[key]

    @cached_property
    def _discounted(self) -> dict[tuple[Level, str, str], tuple[float, float]]:
        return discounted(self._state.qualities)
