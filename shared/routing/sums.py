"""The sums of which a learner state consists; all integers, so adding commutes exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.routing import moments as mo
from shared.routing.timeline import Bucket
from shared.routing.types import Level

TaskKey = tuple[Level, str]
Key = tuple[Level, str, str]  # level, task, model
Buckets = dict[Bucket, tuple[int, int]]

# Tasks that the router named itself, because the caller did not, carry this mark.
OWN_TOPIC: Final = "~"


@dataclass(frozen=True, eq=False)
class Sums:
    """Additive sufficient statistics.

    Attributes
    ----------
    qualities
        Count and sum of the qualities per cell and time bucket.
    serving
        What serving measured per cell.
    cells, tasks
        Sums of features: of a model on a task, of a task's prompts.
    models, near
        Products of quality with features, and with closeness to the landmarks, per model.
    places
        Sums of closeness per level.
    scatter, near_scatter
        Sums of outer products, of features and of closeness, over all judged requests.
    newest
        Newest tick seen.
    """

    qualities: Mapping[Key, Buckets] = field(default_factory=dict)
    serving: Mapping[Key, mo.Serving] = field(default_factory=dict)
    cells: Mapping[Key, mo.Moments] = field(default_factory=dict)
    tasks: Mapping[TaskKey, mo.Moments] = field(default_factory=dict)
    models: Mapping[str, mo.ModelMoments] = field(default_factory=dict)
    near: Mapping[str, mo.NearMoments] = field(default_factory=dict)
    places: Mapping[Level, mo.Moments] = field(default_factory=dict)
    scatter: mo.IntArray = field(default_factory=mo.no_scatter)
    near_scatter: mo.IntArray = field(default_factory=mo.no_near_scatter)
    newest: int = 0
    n_updates: int = 0
