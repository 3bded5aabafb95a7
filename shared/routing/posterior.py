"""From sums to expectations: hierarchical shrinkage, task recognition, slopes, forgetting.

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

Under-shrunk learners choose worse than one fixed model; every constant here errs towards shrinking.

References
----------
MacKay, D. (1992). "Bayesian Interpolation." Neural Computation 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from shared.routing import moments as mo
from shared.routing.features import FloatArray
from shared.routing.forgetting import discounted
from shared.routing.prices import Price, price_class_offset
from shared.routing.shrinkage import effects, evidence_ratio
from shared.routing.types import Level, ModelCard

if TYPE_CHECKING:
    from shared.routing.learner import LearnerState

# Weight of a parent, in observations of the child.
_PRIOR_ALL: Final = 4.0
_PRIOR_MODEL: Final = 10.0
_KNOWN_LEVEL: Final = 15.0
_PRIOR_SERVING: Final = 5.0
_PRIOR_SUCCESS: Final = 50.0

_QUALITY_BEFORE_EVIDENCE: Final = 0.65
_LATENCY_MS_BEFORE_EVIDENCE: Final = 1500.0
_TOKENS_OUT_BEFORE_EVIDENCE: Final = 250.0
_SUCCESS_BEFORE_EVIDENCE: Final = 0.995
_LEAST_VARIANCE: Final = 0.05

# Task recognition: observations of a task after which its name is believed as much as its text;
# share of the identity in the covariance; and a temperature, as features are far from normal.
_TRUST_TAG: Final = 10.0
_COVARIANCE_SHRINKAGE: Final = 0.15
_COVARIANCE_PRIOR: Final = 50.0
_TEMPERATURE: Final = 0.5

# Feedbacks before which no slope is believed.
_LEAST_FOR_SLOPES: Final = 500


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


class _Slopes(NamedTuple):
    """Slopes per scaled feature, (n_models, N_SLOPES), and their prior variance in that basis."""

    models: dict[str, int]
    common: FloatArray
    deviation: FloatArray
    basis: FloatArray  # columns: principal axes of the features within tasks
    precision: FloatArray  # (n_models, N_SLOPES): posterior precision along the axes


class _Places(NamedTuple):
    """Where the tasks of a level lie: discriminant weights, biases and centres of the slopes."""

    weights: FloatArray  # (N_TEXT_FEATURES, n_tasks)
    bias: FloatArray  # (n_tasks,)
    centres: FloatArray  # (n_tasks, N_SLOPES)


class _LevelFit(NamedTuple):
    """Everything about one level and one list of models, ready for prediction."""

    tasks: dict[str, int]
    models: dict[str, int]
    mean: FloatArray  # (n_tasks + 1, n_models); the last row is a task never seen
    variance: FloatArray  # the same shape
    share: FloatArray  # (n_tasks + 1,): of the level's traffic
    at_level: FloatArray  # (n_models,)
    n_task: FloatArray  # (n_tasks,)
    n_model: FloatArray  # (n_models,)
    success: FloatArray  # (n_models,)
    tokens: FloatArray  # (n_tasks + 1, n_models) each
    tokens2: FloatArray
    latency: FloatArray
    latency2: FloatArray
    billed: FloatArray  # mean cost in USD, for models without a price
    n_billed: FloatArray


class Posterior:
    """Expectations of one learner state; solves each level when it is first asked for."""

    def __init__(self, state: LearnerState) -> None:
        self._state = state
        self._fits: dict[tuple[Level, tuple[tuple[str, float], ...]], _LevelFit] = {}
        self._places: dict[Level, _Places] = {}

    def predict(
        self,
        features: Sequence[float],
        level: Level,
        task_type: str | None,
        tokens_in: int,
        max_tokens_out: int | None,
        models: Sequence[ModelCard],
        prices: Mapping[str, Price],
    ) -> tuple[Prediction, ...]:
        """See ``LearnerState.predict``."""
        fit = self._fit(level, prices)
        vector = None
        if mo.usable(features):
            vector = mo.fixed_point(np.asarray(features, dtype=np.float64)) / mo.FEATURE_UNIT
        weights = self._task_weights(fit, level, task_type, vector)
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
        # Ten decimals: far below what is known, above what differs between processors.
        quality = np.round(np.clip(mean, 0.0, 1.0) * fit.success, 10)
        deviation = np.round(np.sqrt(variance), 10)
        rows = [
            np.round(weights @ table, 6)
            for table in (fit.tokens, fit.tokens2, fit.latency, fit.latency2)
        ]
        found = []
        for card in models:
            i = fit.models[card.id]
            price = prices[card.id]
            tokens, tokens2, latency, latency2 = (float(row[i]) for row in rows)
            tokens_sd = math.sqrt(max(0.0, tokens2 - tokens * tokens))
            for cap in (max_tokens_out, card.max_tokens_out):
                tokens = tokens if cap is None else min(tokens, cap)
            cost = price.cost_usd(tokens_in, tokens)
            if not price.known:  # what was billed so far says more than a stand-in
                n = float(fit.n_billed[i])
                cost = (n * float(fit.billed[i]) + _PRIOR_SERVING * cost) / (n + _PRIOR_SERVING)
            found.append(
                Prediction(
                    model=card.id,
                    quality=float(quality[i]),
                    quality_sd=float(deviation[i]),
                    quality_level=float(fit.at_level[i] * fit.success[i]),
                    tokens_out=tokens,
                    tokens_out_sd=tokens_sd,
                    cost_usd=cost,
                    cost_sd=price.cost_usd(0, tokens_sd),
                    latency_ms=latency,
                    latency_sd=math.sqrt(max(0.0, latency2 - latency * latency)),
                    n=float(fit.n_model[i]),
                    price_known=price.known,
                )
            )
        return tuple(found)

    # -- which task -------------------------------------------------------------------------

    def _task_weights(
        self, fit: _LevelFit, level: Level, task: str | None, vector: FloatArray | None
    ) -> FloatArray:
        """Return P(task) over the level's tasks and, last, a task never seen."""
        weights = np.zeros(len(fit.tasks) + 1)
        trust = 0.0
        if task is not None and task in fit.tasks:
            n = fit.n_task[fit.tasks[task]]
            trust = 1.0 if vector is None else float(n / (n + _TRUST_TAG))
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

    def _places_of(self, level: Level, fit: _LevelFit) -> _Places:
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
        self, fit: _LevelFit, level: Level, weights: FloatArray, vector: FloatArray
    ) -> tuple[float, FloatArray, FloatArray]:
        """Return what the prompt adds for all models, for each, and the variance of that."""
        slopes = self._slopes
        gain = np.zeros(len(fit.models))
        extra = np.zeros(len(fit.models))
        if slopes is None:
            return 0.0, gain, extra
        places = self._places_of(level, fit)
        known = weights[:-1].sum()
        away = known * vector - weights[:-1] @ places.centres
        along = away @ slopes.basis
        for model, row in slopes.models.items():
            if model in fit.models:
                i = fit.models[model]
                gain[i] += along @ slopes.deviation[row]
                extra[i] = float((along * along) @ (1.0 / slopes.precision[row]))
        return float(along @ slopes.common), gain, extra

    @cached_property
    def _slopes(self) -> _Slopes | None:
        """Solve the regressions of quality on the features within tasks, for every model."""
        state = self._state
        if self._n < _LEAST_FOR_SLOPES or not state.models:
            return None
        models = {model: i for i, model in enumerate(sorted(state.models))}
        n = np.zeros(len(models))
        cross = np.zeros((len(models), mo.N_SLOPES))
        squares = np.zeros((len(models), mo.N_SLOPES))
        noise = np.zeros(len(models))
        for model, i in models.items():
            sums = state.models[model]
            cross[i] = sums.products / (mo.FEATURE_UNIT * mo.QUALITY_UNIT)
            squares[i] = sums.squares / mo.FEATURE_UNIT**2
        for (_, _, model), cell in state.cells.items():
            i = models[model]
            mean = cell.quality / (cell.n * mo.QUALITY_UNIT)
            x = cell.features / mo.FEATURE_UNIT
            n[i] += cell.n
            cross[i] -= x * mean
            squares[i] -= x * x / cell.n
            noise[i] += cell.n * max(_LEAST_VARIANCE, mean * (1.0 - mean))
        noise_all = float(noise.sum() / n.sum())
        scatter = self._within[mo.SLOPES, mo.SLOPES]
        spread, basis = np.linalg.eigh(scatter / self._n)
        spread = np.maximum(spread, 1e-6)
        # What a model saw may vary more or less than the pooled features: rescale per feature.
        pooled = np.maximum(np.diag(scatter) / self._n, 1e-6)
        seen = np.maximum(squares, 0.0) / np.maximum(n, 1.0)[:, None]
        ratio = np.sqrt(np.clip(seen / pooled, 0.1, 10.0))
        along = (cross / ratio) @ basis
        share = (n / n.sum())[:, None]
        total = along.sum(axis=0)
        apart = along - share * total
        # Where every model answered the same prompts their errors go together, which makes the sum
        # noisier and the differences calmer than independent answers: the noise is estimated too.
        common_ratio, _ = evidence_ratio(n.sum() * spread[None, :], total[None, :], noise_all)
        apart_ratio, noise_apart = evidence_ratio(n[:, None] * spread, apart, noise_all)
        common = total / (n.sum() * spread + common_ratio)
        precision = n[:, None] * spread + apart_ratio
        return _Slopes(
            models,
            np.round(common, 10),
            np.round(apart / precision, 10),
            basis,
            precision / noise_apart,
        )

    # -- means ------------------------------------------------------------------------------

    def _fit(self, level: Level, prices: Mapping[str, Price]) -> _LevelFit:
        key = (level, tuple((m, price_class_offset(p)) for m, p in prices.items()))
        if key not in self._fits:
            if len(self._fits) > 16:  # prices changed many times under one state
                self._fits.clear()
            self._fits[key] = self._fit_level(level, dict(key[1]))
        return self._fits[key]

    @cached_property
    def _discounted(self) -> dict[tuple[Level, str, str], tuple[float, float]]:
        return discounted(self._state.qualities)

    def _fit_level(self, level: Level, offsets: Mapping[str, float]) -> _LevelFit:
        state = self._state
        # Models that are no longer served still say which tasks are hard.
        retired = {m for _, _, m in (*state.qualities, *state.serving)}.difference(offsets)
        models = {model: i for i, model in enumerate((*offsets, *sorted(retired)))}
        here = [key for key in (*state.qualities, *state.serving) if key[0] == level]
        names = sorted({task for _, task, _ in here if task}) + (
            [""] if any(not task for _, task, _ in here) else []
        )
        tasks = {task: i for i, task in enumerate(names)}
        n = np.zeros((len(tasks), len(models)))
        s = np.zeros_like(n)
        n_else = np.zeros(len(models))  # at the other levels
        s_else = np.zeros(len(models))
        for (at, task, model), (count, total) in self._discounted.items():
            if at == level:
                n[tasks[task], models[model]] += count
                s[tasks[task], models[model]] += total
            else:
                n_else[models[model]] += count
                s_else[models[model]] += total

        n_all = n_else + n.sum(axis=0)
        base = (s_else.sum() + s.sum() + _PRIOR_ALL * _QUALITY_BEFORE_EVIDENCE) / (
            n_all.sum() + _PRIOR_ALL
        )
        prior = np.clip(base + np.array([offsets.get(model, 0.0) for model in models]), 0.01, 0.99)
        of_model = (s_else + _PRIOR_MODEL * prior) / (n_else + _PRIOR_MODEL)
        at_model, effect, cell_prior = effects(n, s, of_model)
        per_task = n.sum(axis=1)
        traffic = per_task.sum()
        usual = float(per_task @ effect / traffic) if traffic else 0.0
        expected = np.clip(at_model + np.append(effect, usual)[:, None], 0.0, 1.0)
        n_more = np.vstack((n, np.zeros(len(models))))
        s_more = np.vstack((s, np.zeros(len(models))))
        mean = (s_more + cell_prior * expected) / (n_more + cell_prior)
        known = np.minimum(_PRIOR_MODEL, n_all.sum() / 10.0) + n_all
        known = np.minimum(_KNOWN_LEVEL, known) + n.sum(axis=0)
        known = np.minimum(cell_prior, known) + n_more
        variance = np.maximum(_LEAST_VARIANCE, mean * (1.0 - mean)) / (known + 1.0)
        share = np.append(per_task, 0.0) / traffic if traffic else np.append(per_task, 1.0)
        return _LevelFit(
            tasks=tasks,
            models=models,
            mean=mean,
            variance=variance,
            share=share,
            at_level=np.round(share @ mean, 10),
            n_task=per_task,
            n_model=n.sum(axis=0),
            **self._serving(level, tasks, models),
        )

    def _serving(
        self, level: Level, tasks: Mapping[str, int], models: Mapping[str, int]
    ) -> dict[str, FloatArray]:
        """Shrink what serving measured: task towards level towards model towards a start."""
        cells = np.zeros((len(tasks) + 1, len(models), mo.SERVING_WIDTH))
        of_model = np.zeros((len(models), mo.SERVING_WIDTH))
        for (at, task, model), cell in self._state.serving.items():
            of_model[models[model]] += cell
            if at == level:
                cells[tasks[task], models[model]] += cell
        of_level = cells.sum(axis=0)
        layers = (of_model, of_level, cells)

        def shrunk(total: int, count: int, unit: float, start: float) -> FloatArray:
            value = np.full((len(tasks) + 1, len(models)), start)
            for layer in layers:
                value = (layer[..., total] * unit + _PRIOR_SERVING * value) / (
                    layer[..., count] + _PRIOR_SERVING
                )
            return value

        served, good = of_level[:, mo.N_SERVED], of_level[:, mo.N_SUCCEEDED]
        return {
            "success": (good + _PRIOR_SUCCESS * _SUCCESS_BEFORE_EVIDENCE)
            / (served + _PRIOR_SUCCESS),
            "tokens": shrunk(mo.TOKENS, mo.N_TOKENS, 1.0, _TOKENS_OUT_BEFORE_EVIDENCE),
            "tokens2": shrunk(mo.TOKENS2, mo.N_TOKENS, 1.0, 2 * _TOKENS_OUT_BEFORE_EVIDENCE**2),
            "latency": shrunk(mo.LATENCY_US, mo.N_LATENCY, 1e-3, _LATENCY_MS_BEFORE_EVIDENCE),
            "latency2": shrunk(
                mo.LATENCY2, mo.N_LATENCY, 100.0, 2 * _LATENCY_MS_BEFORE_EVIDENCE**2
            ),
            "billed": of_model[:, mo.COST_NANO] / 1e9 / np.maximum(1.0, of_model[:, mo.N_COST]),
            "n_billed": of_model[:, mo.N_COST],
        }
