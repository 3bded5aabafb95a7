"""How hard to shrink, learned from the data itself.

Two questions are answered by evidence instead of by a setting per data set: how much cells (task,
model) deviate from the sum of a task effect and a model effect, and how large slopes may be.

References
----------
MacKay, D. (1992). "Bayesian Interpolation." Neural Computation 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from shared.routing.arrays import FloatArray

# Weights of a parent, in observations of the child; that of a cell is where the estimate starts.
_PRIOR_LEVEL: Final = 6.0
_PRIOR_TASK_EFFECT: Final = 5.0
_PRIOR_CELL: Final = 6.0
# Bounds of a cell's weight, and how much evidence its start counts for.
_LEAST_CELL_PRIOR: Final = 4.0
_LARGEST_CELL_PRIOR: Final = 60.0
_CELLS_BEFORE_EVIDENCE: Final = 100.0
# Ratios of noise to prior variance that are compared, and guesses of the noise itself.
_RATIOS: Final = (30.0, 1e2, 3e2, 1e3, 3e3)
_NOISE_FACTORS: Final = (0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 8.0, 16.0)
_BACKFITTING_ROUNDS: Final = 8
_EFFECT_ROUNDS: Final = 2


def effects(
    n: FloatArray, s: FloatArray, start: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Split cell means into model effect and task effect; return also the weight of their sum.

    Both effects are fitted together, so that a model which only ever got the hard tasks is not
    taken for a bad one. Cells deviate from the sum, so however often a cell was asked it says no
    more of either effect than the weight allows. That weight is the ratio of the noise of one
    answer to the variance of the deviations, by the method of moments: where models hardly differ
    in what they are good at, cells shrink hard.

    Parameters
    ----------
    n, s
        Counts and sums of quality, shape (n_tasks, n_models).
    start
        Prior of the model effects, shape (n_models,).
    """
    prior = _PRIOR_CELL
    observed = s / np.maximum(n, 1.0)
    at_model, effect = start, np.zeros(len(n))
    for _ in range(_EFFECT_ROUNDS):
        weight = n * prior / (n + prior)
        for _ in range(_BACKFITTING_ROUNDS):
            rest = weight * (observed - effect[:, None])
            at_model = (rest.sum(axis=0) + _PRIOR_LEVEL * start) / (
                weight.sum(axis=0) + _PRIOR_LEVEL
            )
            rest = weight * (observed - at_model)
            effect = rest.sum(axis=1) / (weight.sum(axis=1) + _PRIOR_TASK_EFFECT)
        expected = np.clip(at_model + effect[:, None], 0.02, 0.98)
        noise = expected * (1.0 - expected)
        excess = (observed - expected) ** 2 - noise / np.maximum(n, 1.0)
        usual = float((n * noise).sum() / n.sum()) if n.any() else 0.2
        spread = (float((weight * excess).sum()) + _CELLS_BEFORE_EVIDENCE * usual) / (
            float(weight.sum()) + _CELLS_BEFORE_EVIDENCE * _PRIOR_CELL
        )
        prior = min(_LARGEST_CELL_PRIOR, max(_LEAST_CELL_PRIOR, usual / max(spread, 1e-6)))
    return at_model, effect, prior


def evidence_ratio(
    spread: FloatArray, cross: FloatArray, noise: float, ratios: Sequence[float] = _RATIOS
) -> tuple[float, float]:
    """Return ratio of noise to prior variance, and the noise, under which ``cross`` is likeliest.

    ``cross[i, j]`` is normal with variance ``noise * (spread + spread**2 / ratio)``, where
    ``spread`` is the sum of squares along axis j, both of shape (n_models, n_axes). ``noise`` is
    the guess from which the search starts; ``ratios`` are compared, given in rising order.
    """
    spread = np.maximum(spread, 1e-9)
    best, found = -math.inf, (ratios[-1], noise)
    for ratio in reversed(ratios):  # from the strongest shrinkage: ties stay there
        shape = spread * (1.0 + spread / ratio)
        square = cross * cross / shape
        for factor in _NOISE_FACTORS:
            variance = noise * factor
            value = -0.5 * float((np.log(variance * shape) + square / variance).sum())
            if value > best + 1e-9:
                best, found = value, (ratio, float(variance))
    return found
