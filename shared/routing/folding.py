"""Adding observations to the sums, in any order and in any batches with the same result."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np

from shared.routing import moments as mo
from shared.routing.neighbourhoods import closeness
from shared.routing.observations import FeedbackObservation, OutcomeObservation
from shared.routing.sums import OWN_TOPIC, Buckets, Sums
from shared.routing.timeline import bucket_of, moved, tick_of
from shared.routing.topics import TOPICS, topic_probabilities
from shared.routing.types import Level

# Distinct task tags kept per level. Callers choose tags freely, and the state must not grow with
# them: beyond the limit the tags with the smallest checksums stay (a rule that no order of
# arrival can change) and the rest is learned without a tag.
MAX_TASKS_PER_LEVEL: Final = 64

K = TypeVar("K")


class Builder:
    """Mutable copy of a state's tables while observations are added."""

    def __init__(self, state: Sums) -> None:
        self.qualities = {key: dict(buckets) for key, buckets in state.qualities.items()}
        self.serving = dict(state.serving)
        self.cells = dict(state.cells)
        self.tasks = dict(state.tasks)
        self.models = dict(state.models)
        self.near = dict(state.near)
        self.places = dict(state.places)
        self.scatter = state.scatter
        self.near_scatter = state.near_scatter
        self.newest = state.newest

    def add_outcomes(self, outcomes: Sequence[OutcomeObservation]) -> None:
        named = _task_names([(o.task_type, o.features) for o in outcomes])
        for outcome, task in zip(outcomes, named, strict=True):
            key = (outcome.level, task, outcome.model)
            cell = mo.serving_cell(outcome)
            old = self.serving.get(key)
            self.serving[key] = cell if old is None else mo.added(old, cell)

    def add_feedbacks(self, feedbacks: Sequence[FeedbackObservation]) -> None:
        if not feedbacks:
            return
        ticks = [tick_of(f.at) for f in feedbacks]
        self.newest = max(self.newest, *ticks)
        named = _task_names([(f.task_type, f.features) for f in feedbacks])
        for f, tick, task in zip(feedbacks, ticks, named, strict=True):
            buckets = self.qualities.setdefault((f.level, task, f.model), {})
            bucket = bucket_of(tick, self.newest)
            n, total = buckets.get(bucket, (0, 0))
            buckets[bucket] = (n + 1, total + round(f.quality * mo.QUALITY_UNIT))
        self._add_features([(f, task) for f, task in zip(feedbacks, named, strict=True)])

    def _add_features(self, rows: Sequence[tuple[FeedbackObservation, str]]) -> None:
        rows = [(f, task) for f, task in rows if mo.usable(f.features)]
        if not rows:
            return
        vectors = mo.fixed_point(np.array([f.features for f, _ in rows]))
        quality = np.array([round(f.quality * mo.QUALITY_UNIT) for f, _ in rows], dtype=np.int64)
        slopes = vectors[:, mo.SLOPES]
        self.scatter = self.scatter + mo.scatter_of(vectors)
        by_task = _grouped([(f.level, task) for f, task in rows])
        for place, at in by_task.items():
            new = mo.Moments(len(at), int(quality[at].sum()), vectors[at].sum(axis=0))
            _add(self.tasks, place, new)
        by_cell = _grouped([(f.level, task, f.model) for f, task in rows])
        for key, at in by_cell.items():
            _add(self.cells, key, mo.Moments(len(at), int(quality[at].sum()), slopes[at].sum(0)))
        for model, at in _grouped([f.model for f, _ in rows]).items():
            x = slopes[at]
            sums = mo.ModelMoments((x * x).sum(axis=0), (x * quality[at][:, None]).sum(axis=0))
            old = self.models.get(model)
            self.models[model] = sums if old is None else old.plus(sums)
        self._add_closeness([f for f, _ in rows], vectors, quality)

    def _add_closeness(
        self, rows: Sequence[FeedbackObservation], vectors: mo.IntArray, quality: mo.IntArray
    ) -> None:
        near = closeness(vectors)
        self.near_scatter = self.near_scatter + mo.scatter_of(near)
        for level, at in _grouped([f.level for f in rows]).items():
            new = mo.Moments(len(at), int(quality[at].sum()), near[at].sum(axis=0))
            _add(self.places, level, new)
        for model, at in _grouped([f.model for f in rows]).items():
            sums = mo.NearMoments(
                len(at),
                int(quality[at].sum()),
                near[at].sum(axis=0),
                (near[at] * quality[at][:, None]).sum(axis=0),
            )
            old = self.near.get(model)
            self.near[model] = sums if old is None else old.plus(sums)

    def build(self, n_updates: int) -> Sums:
        self._limit_tasks()
        for key, buckets in self.qualities.items():
            if any(moved(bucket, self.newest) != bucket for bucket in buckets):
                merged: Buckets = {}
                for bucket, (n, total) in buckets.items():
                    target = moved(bucket, self.newest)
                    m, sum_ = merged.get(target, (0, 0))
                    merged[target] = (m + n, sum_ + total)
                self.qualities[key] = merged
        return Sums(
            self.qualities,
            self.serving,
            self.cells,
            self.tasks,
            self.models,
            self.near,
            self.places,
            self.scatter,
            self.near_scatter,
            self.newest,
            n_updates,
        )

    def _limit_tasks(self) -> None:
        """Move the tasks beyond the limit of each level to the one without a name."""
        names: dict[Level, set[str]] = {}
        for level, task, _ in (*self.qualities, *self.serving):
            if task:
                names.setdefault(level, set()).add(task)
        for level, found in names.items():
            if len(found) <= MAX_TASKS_PER_LEVEL:
                continue
            ranked = sorted(found, key=lambda n: (zlib.crc32(n.encode("utf-8", "replace")), n))
            for task in ranked[MAX_TASKS_PER_LEVEL:]:
                self._rename(level, task)

    def _rename(self, level: Level, task: str) -> None:
        for key in [k for k in self.serving if k[:2] == (level, task)]:
            target = (level, "", key[2])
            old = self.serving.get(target, mo.NOTHING_SERVED)
            self.serving[target] = mo.added(old, self.serving.pop(key))
        for key in [k for k in self.qualities if k[:2] == (level, task)]:
            into = self.qualities.setdefault((level, "", key[2]), {})
            for bucket, (n, total) in self.qualities.pop(key).items():
                target_bucket = moved(bucket, self.newest)
                m, sum_ = into.get(target_bucket, (0, 0))
                into[target_bucket] = (m + n, sum_ + total)
        for key in [k for k in self.cells if k[:2] == (level, task)]:
            _add(self.cells, (level, "", key[2]), self.cells.pop(key))
        if (level, task) in self.tasks:
            _add(self.tasks, (level, ""), self.tasks.pop((level, task)))


def _task_names(rows: Sequence[tuple[str | None, Sequence[float]]]) -> list[str]:
    """Return each row's task; where the caller gave none, the topic of its features."""
    names = [task or "" for task, _ in rows]
    untagged = [i for i, (task, f) in enumerate(rows) if not task and mo.usable(f)]
    if untagged:
        vectors = np.array([rows[i][1] for i in untagged])
        for i, topic in zip(untagged, topic_probabilities(vectors).argmax(axis=1), strict=True):
            names[i] = OWN_TOPIC + TOPICS[int(topic)]
    return names


def _grouped(keys: Sequence[K]) -> dict[K, list[int]]:
    groups: dict[K, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return groups


def _add(table: dict[K, mo.Moments], key: K, new: mo.Moments) -> None:
    old = table.get(key)
    table[key] = new if old is None else old.plus(new)
