"""Find the moment at which a model changed, and discount what it did before.

Forgetting at a constant rate pays for drift with noise where there is none. Here the qualities of
a (level, model) are compared before and after every bucket border, task by task (so that a change
of the traffic is not taken for a change of the model); only where the difference is beyond
chance do the older observations lose weight, after being moved by the estimated difference so
that what they say about the tasks among each other is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from shared.routing.arrays import FloatArray
from shared.routing.timeline import Bucket, start_of
from shared.routing.types import Level

# Standard deviations beyond which a difference is a change. Many borders are looked at each time.
CHANGE_DEVIATIONS: Final = 4.0
# Weight of an observation from before the change.
OLD_WEIGHT: Final = 0.2
_LEAST_EACH_SIDE: Final = 12.0
_LEAST_VARIANCE: Final = 0.04
_QUALITY_UNIT: Final = 1000.0

Key = tuple[Level, str, str]


def discounted(
    qualities: Mapping[Key, Mapping[Bucket, tuple[int, int]]],
) -> dict[Key, tuple[float, float]]:
    """Return the weight and the weighted sum of qualities in [0, 1] of every cell."""
    by_model: dict[tuple[Level, str], list[str]] = {}
    for level, task, model in qualities:
        by_model.setdefault((level, model), []).append(task)
    found: dict[Key, tuple[float, float]] = {}
    for (level, model), tasks in by_model.items():
        borders = sorted(
            {start_of(bucket) for task in tasks for bucket in qualities[(level, task, model)]}
        )
        position = {border: i for i, border in enumerate(borders)}
        n = np.zeros((len(tasks), len(borders)))
        s = np.zeros_like(n)
        for row, task in enumerate(tasks):
            for bucket, (count, total) in qualities[(level, task, model)].items():
                n[row, position[start_of(bucket)]] += count
                s[row, position[start_of(bucket)]] += total / _QUALITY_UNIT
        weight, total_quality = _after_change(n, s)
        for row, task in enumerate(tasks):
            found[(level, task, model)] = (float(weight[row]), float(total_quality[row]))
    return found


def _after_change(n: FloatArray, s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return weight and sum per task from counts and sums of shape (n_tasks, n_buckets)."""
    all_n, all_s = n.sum(axis=1), s.sum(axis=1)
    if n.shape[1] < 2:
        return all_n, all_s
    old_n, old_s = np.cumsum(n, axis=1)[:, :-1], np.cumsum(s, axis=1)[:, :-1]
    new_n, new_s = all_n[:, None] - old_n, all_s[:, None] - old_s
    both = old_n * new_n / np.maximum(all_n[:, None], 1.0)  # weight of a task's difference
    gap = new_s / np.maximum(new_n, 1.0) - old_s / np.maximum(old_n, 1.0)
    mean = (all_s + 1.0) / (all_n + 2.0)
    variance = np.maximum(_LEAST_VARIANCE, mean * (1.0 - mean))
    weight = both.sum(axis=0)
    change = (both * gap).sum(axis=0) / np.maximum(weight, 1e-9)
    error = np.sqrt((both * variance[:, None]).sum(axis=0)) / np.maximum(weight, 1e-9)
    enough = (old_n.sum(axis=0) >= _LEAST_EACH_SIDE) & (new_n.sum(axis=0) >= _LEAST_EACH_SIDE)
    score = np.where(enough & (weight > 0), np.abs(change) / np.maximum(error, 1e-9), 0.0)
    at = int(score.argmax())
    if not (math.isfinite(score[at]) and score[at] > CHANGE_DEVIATIONS):
        return all_n, all_s
    moved = np.clip(old_s[:, at] + change[at] * old_n[:, at], 0.0, old_n[:, at])
    return new_n[:, at] + OLD_WEIGHT * old_n[:, at], new_s[:, at] + OLD_WEIGHT * moved
