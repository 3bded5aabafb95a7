"""Means per level, task and model, each shrunk towards what is known of its parents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from shared.routing import moments as mo
from shared.routing.arrays import FloatArray
from shared.routing.shrinkage import effects
from shared.routing.slopes import LEAST_VARIANCE
from shared.routing.sums import Key, Sums
from shared.routing.types import Level

# Weight of a parent, in observations of the child.
_PRIOR_ALL: Final = 4.0
_PRIOR_MODEL: Final = 10.0
_KNOWN_LEVEL: Final = 15.0
PRIOR_SERVING: Final = 5.0
_PRIOR_SUCCESS: Final = 50.0

_QUALITY_BEFORE_EVIDENCE: Final = 0.65
_LATENCY_MS_BEFORE_EVIDENCE: Final = 1500.0
_TOKENS_OUT_BEFORE_EVIDENCE: Final = 250.0
_SUCCESS_BEFORE_EVIDENCE: Final = 0.995


class LevelFit(NamedTuple):
    """Everything about one level and one list of models, ready for prediction."""

    tasks: dict[str, int]
    models: dict[str, int]
    mean: FloatArray  # (n_tasks + 1, n_models); the last row is a task never seen
    variance: FloatArray  # the same shape
    share: FloatArray  # (n_tasks + 1,): of the level's traffic
    at_level: FloatArray  # (n_models,)
    n_task: FloatArray  # (n_tasks,)
    success: FloatArray  # (n_models,)
    quality_level: list[float]  # of the average request of the level, failures included
    counts: list[float]  # feedbacks per model
    served: FloatArray  # (n_tasks + 1, 4 n_models): tokens and latency, each with its square
    billed: FloatArray  # mean cost in USD, for models without a price
    n_billed: FloatArray


def level_fit(
    state: Sums,
    discounted: Mapping[Key, tuple[float, float]],
    level: Level,
    offsets: Mapping[str, float],
) -> LevelFit:
    """Shrink the means of every (task, model) of a level.

    ``discounted`` are weight and weighted quality per cell; ``offsets`` the prior of the models
    to predict, relative to the average model.
    """
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
    for (at, task, model), (count, total) in discounted.items():
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
    variance = np.maximum(LEAST_VARIANCE, mean * (1.0 - mean)) / (known + 1.0)
    share = np.append(per_task, 0.0) / traffic if traffic else np.append(per_task, 1.0)
    at_level = np.round(share @ mean, 10)
    success, served, billed, n_billed = _serving(state, level, tasks, models)
    return LevelFit(
        tasks=tasks,
        models=models,
        mean=mean,
        variance=variance,
        share=share,
        at_level=at_level,
        n_task=per_task,
        success=success,
        quality_level=(at_level * success).tolist(),
        counts=n.sum(axis=0).tolist(),
        served=served,
        billed=billed,
        n_billed=n_billed,
    )


def _serving(
    state: Sums, level: Level, tasks: Mapping[str, int], models: Mapping[str, int]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Shrink what serving measured: task towards level towards model towards a start.

    Returns success, tokens and latency as ``LevelFit.served``, mean billed cost and its count.
    """
    cells = np.zeros((len(tasks) + 1, len(models), mo.SERVING_WIDTH))
    of_model = np.zeros((len(models), mo.SERVING_WIDTH))
    for (at, task, model), cell in state.serving.items():
        of_model[models[model]] += cell
        if at == level:
            cells[tasks[task], models[model]] += cell
    of_level = cells.sum(axis=0)
    layers = (of_model, of_level, cells)

    def shrunk(total: int, count: int, unit: float, start: float) -> FloatArray:
        value = np.full((len(tasks) + 1, len(models)), start)
        for layer in layers:
            value = (layer[..., total] * unit + PRIOR_SERVING * value) / (
                layer[..., count] + PRIOR_SERVING
            )
        return value

    n_served, good = of_level[:, mo.N_SERVED], of_level[:, mo.N_SUCCEEDED]
    return (
        (good + _PRIOR_SUCCESS * _SUCCESS_BEFORE_EVIDENCE) / (n_served + _PRIOR_SUCCESS),
        np.hstack(
            [
                shrunk(mo.TOKENS, mo.N_TOKENS, 1.0, _TOKENS_OUT_BEFORE_EVIDENCE),
                shrunk(mo.TOKENS2, mo.N_TOKENS, 1.0, 2 * _TOKENS_OUT_BEFORE_EVIDENCE**2),
                shrunk(mo.LATENCY_US, mo.N_LATENCY, 1e-3, _LATENCY_MS_BEFORE_EVIDENCE),
                shrunk(mo.LATENCY2, mo.N_LATENCY, 100.0, 2 * _LATENCY_MS_BEFORE_EVIDENCE**2),
            ]
        ),
        of_model[:, mo.COST_NANO] / 1e9 / np.maximum(1.0, of_model[:, mo.N_COST]),
        of_model[:, mo.N_COST],
    )
