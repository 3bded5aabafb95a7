"""What the prompt itself adds: regressions on its features, and on what was like it.

Two views of the same feedback. *Slopes* are linear in the features, within tasks. The *similar*
view knows no tasks: a kernel regression on closeness to shipped landmarks. They err in different
ways, so their mean is better than either.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from shared.routing import moments as mo
from shared.routing.arrays import FloatArray
from shared.routing.neighbourhoods import CLOSENESS_UNIT, prior_root
from shared.routing.shrinkage import evidence_ratio
from shared.routing.sums import Sums
from shared.routing.types import Level

# Feedbacks before which no slope is believed.
_LEAST_FOR_SLOPES: Final = 500
LEAST_VARIANCE: Final = 0.05

# Ratios of the noise of one answer to the prior variance of the kernel regressions that are
# compared: how much models differ in what they are good at is a matter of the models and prompts.
SIMILAR_RATIOS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
# Variance of closeness below which too few prompts tell anything along an axis.
_LEAST_SPREAD: Final = 1e-9
# Share of the similar view in the mean of both, and the feedbacks of a model at which it has half.
SIMILAR_SHARE: Final = 0.5
_SIMILAR_HALF: Final = 100.0


class Slopes(NamedTuple):
    """Slopes per scaled feature, (n_models, N_SLOPES), and their prior variance in that basis."""

    models: dict[str, int]
    common: FloatArray
    deviation: FloatArray
    basis: FloatArray  # columns: principal axes of the features within tasks
    precision: FloatArray  # (n_models, N_SLOPES): posterior precision along the axes


class Similar(NamedTuple):
    """Deviation from a model's mean per unit of closeness, for every model that has feedback."""

    models: dict[str, int]
    weights: FloatArray  # (n_models, N_LANDMARKS)
    share: FloatArray  # (n_models,): of this view in the prediction
    usual: dict[Level, FloatArray]  # mean closeness of the level's prompts


def slopes_of(state: Sums, within: FloatArray, n_rows: int) -> Slopes | None:
    """Solve the regressions of quality on the features within tasks, for every model.

    ``within`` is the scatter of the features within tasks over all ``n_rows`` judged requests.
    """
    if n_rows < _LEAST_FOR_SLOPES or not state.models:
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
        noise[i] += cell.n * max(LEAST_VARIANCE, mean * (1.0 - mean))
    noise_all = float(noise.sum() / n.sum())
    scatter = within[mo.SLOPES, mo.SLOPES]
    spread, basis = np.linalg.eigh(scatter / n_rows)
    spread = np.maximum(spread, 1e-6)
    # What a model saw may vary more or less than the pooled features: rescale per feature.
    pooled = np.maximum(np.diag(scatter) / n_rows, 1e-6)
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
    return Slopes(
        models,
        np.round(common, 10),
        np.round(apart / precision, 10),
        basis,
        precision / noise_apart,
    )


def similar_of(state: Sums) -> Similar | None:
    """Solve the kernel regressions: what all models share, and each model's deviation from it.

    Both are shrunk by the ratio under which the answers are likeliest (``evidence_ratio``).
    """
    if not state.near:
        return None
    models = {model: i for i, model in enumerate(sorted(state.near))}
    n = np.array([float(state.near[model].n) for model in models])
    quality = np.array([state.near[model].quality for model in models]) / (n * mo.QUALITY_UNIT)
    noise = float(n @ np.maximum(LEAST_VARIANCE, quality * (1.0 - quality)) / n.sum())
    cross = np.stack([_centred(state.near[model]) for model in models])
    total = sum(place.n for place in state.places.values())
    mean = np.sum([place.features for place in state.places.values()], axis=0) / total
    scatter = state.near_scatter - total * np.outer(mean, mean)
    root = prior_root()
    spread, basis = np.linalg.eigh(root.T @ scatter @ root / (total * CLOSENESS_UNIT**2))
    spread = np.maximum(spread, 0.0)
    basis = root @ basis
    along = cross @ basis
    shared = along.mean(axis=0)
    rest = along - (n / n.mean())[:, None] * shared
    heard = spread > _LEAST_SPREAD  # silent axes would pass for proof that nothing differs
    to_all, _ = evidence_ratio(
        n.mean() * spread[None, heard], shared[None, heard], noise, SIMILAR_RATIOS
    )
    to_each, _ = evidence_ratio(n[:, None] * spread[heard], rest[:, heard], noise, SIMILAR_RATIOS)
    common = shared / (n.mean() * spread + to_all)
    apart = rest / (n[:, None] * spread + to_each)
    weights = (common + apart) @ basis.T / CLOSENESS_UNIT
    usual = {level: place.features / place.n for level, place in state.places.items()}
    share = SIMILAR_SHARE * n / (n + _SIMILAR_HALF)
    return Similar(models, weights, share, usual)


def _centred(near: mo.NearMoments) -> FloatArray:
    """Return the sum of (closeness - its mean) times (quality - its mean)."""
    products: FloatArray = near.products - near.closeness * (near.quality / near.n)
    return products / (mo.QUALITY_UNIT * CLOSENESS_UNIT)
