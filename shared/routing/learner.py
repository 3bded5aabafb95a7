"""What has been learned, as integer sums that can be added in any order.

Integer addition commutes exactly, so folding a log in any order, in any batches, or again from
zero gives the identical state; a late feedback is simply added when it comes. The state holds

- per (level, task, model): qualities by time bucket, what serving measured, and sums of features;
- per (level, task): where its prompts lie in feature space (to recognise an untagged prompt);
- per model: products of features and quality (what makes a prompt hard for this model);
- one scatter matrix of all features.

``shared.routing.posterior`` turns the sums into expectations. Forgetting happens there too: the
buckets let it find the moment at which a model changed and discount what came before, so nothing
is forgotten as long as nothing changes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np

from shared.routing import moments as mo
from shared.routing.features import N_TEXT_FEATURES
from shared.routing.observations import FeedbackObservation, Observation, OutcomeObservation
from shared.routing.packing import pack, unpack
from shared.routing.posterior import Posterior, Prediction
from shared.routing.prices import Price, prices_of
from shared.routing.timeline import Bucket, bucket_of, moved, tick_of
from shared.routing.topics import TOPICS, topic_probabilities
from shared.routing.types import LEVELS, Level, ModelCard

__all__ = [
    "FeedbackObservation",
    "LearnerState",
    "Observation",
    "OutcomeObservation",
    "Prediction",
]

_FORMAT: Final = 2

# Distinct task tags kept per level. Callers choose tags freely, and the state must not grow with
# them: beyond the limit the tags with the smallest checksums stay (a rule that no order of
# arrival can change) and the rest is learned without a tag.
MAX_TASKS_PER_LEVEL: Final = 64

# Tasks that the router named itself, because the caller did not, carry this mark.
OWN_TOPIC: Final = "~"

TaskKey = tuple[Level, str]
Key = tuple[Level, str, str]
Buckets = dict[Bucket, tuple[int, int]]
K = TypeVar("K")


@dataclass(frozen=True, eq=False)
class LearnerState:
    """Additive sufficient statistics; immutable. Use only its methods, the layout may change."""

    qualities: Mapping[Key, Buckets] = field(default_factory=dict)
    serving: Mapping[Key, mo.Serving] = field(default_factory=dict)
    cells: Mapping[Key, mo.Moments] = field(default_factory=dict)
    tasks: Mapping[TaskKey, mo.Moments] = field(default_factory=dict)
    models: Mapping[str, mo.ModelMoments] = field(default_factory=dict)
    scatter: mo.IntArray = field(default_factory=mo.no_scatter)
    newest: int = 0
    n_updates: int = 0

    @classmethod
    def empty(cls) -> LearnerState:
        """Return the state that has seen nothing."""
        return cls()

    def fold(self, observations: Iterable[Observation]) -> LearnerState:
        """Return the state after ``observations``, in whatever order they come.

        ``empty().fold(a).fold(b) == empty().fold(b + a)`` holds exactly.
        """
        outcomes: list[OutcomeObservation] = []
        feedbacks: list[FeedbackObservation] = []
        for observation in observations:
            if isinstance(observation, FeedbackObservation):
                feedbacks.append(observation)
            else:
                outcomes.append(observation)
        if not outcomes and not feedbacks:
            return self
        builder = _Builder(self)
        builder.add_outcomes(outcomes)
        builder.add_feedbacks(feedbacks)
        return builder.build(self.n_updates + len(outcomes) + len(feedbacks))

    def predict(
        self,
        features: Sequence[float],
        *,
        level: Level,
        task_type: str | None,
        tokens_in: int,
        max_tokens_out: int | None,
        models: Sequence[ModelCard],
        prices: Mapping[str, Price] | None = None,
    ) -> tuple[Prediction, ...]:
        """Predict quality, cost and latency of each model for one request.

        Parameters
        ----------
        features
            The decision's feature vector (``shared.routing.features``). Empty, or of another
            version: only level and task are used.
        level, task_type
            Without a task, or with one that was hardly seen, the prompt's likely tasks are
            inferred from its features.
        tokens_in
            Tokens of the prompt. ``max_tokens_out`` caps the predicted length.
        models
            Whom to predict; the result has their order. A model never seen starts from its price
            class.
        prices
            Prices with stand-ins of at least these models, where the caller has them already.

        Returns
        -------
        tuple of Prediction

        Notes
        -----
        The first call after a fold solves the posterior (a few milliseconds); later calls reuse
        it, so keep one state object per version.
        """
        prices = prices_of(models) if prices is None else prices
        return self.posterior.predict(
            features, level, task_type, tokens_in, max_tokens_out, models, prices
        )

    @cached_property
    def posterior(self) -> Posterior:
        """The expectations that follow from the sums; solved once per level on demand."""
        return Posterior(self)

    def __eq__(self, other: object) -> bool:
        """Compare the sums, exactly."""
        if not isinstance(other, LearnerState):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        """Hash by what is cheap: equal states have folded equally many observations."""
        return hash((self.n_updates, self.newest))

    def to_json(self) -> dict[str, Any]:
        """Return JSON types; ``from_json`` gives back an equal state. About 3 kB per model."""
        keys = sorted({*self.qualities, *self.serving, *self.cells})
        tasks = sorted({(level, task) for level, task, _ in keys} | set(self.tasks))
        models = sorted({model for _, _, model in keys} | set(self.models))
        numbers: list[int] = []
        for level, task, model in keys:
            key = (level, task, model)
            buckets = self.qualities.get(key, {})
            numbers += (tasks.index((level, task)), models.index(model), len(buckets))
            for bucket in sorted(buckets):
                numbers += (*bucket, *buckets[bucket])
            numbers += self.serving.get(key, mo.NOTHING_SERVED)
        return {
            "format": _FORMAT,
            "n_updates": self.n_updates,
            "newest": self.newest,
            "tasks": [list(task) for task in tasks],
            "models": models,
            "table": pack(numbers),
            "cells": _pack_moments(self.cells, keys, mo.N_SLOPES),
            "places": _pack_moments(self.tasks, tasks, N_TEXT_FEATURES),
            "slopes": pack(
                np.concatenate(
                    [part for m in models if m in self.models for part in self.models[m]]
                )
                if self.models
                else []
            ),
            "with_slopes": [m for m in models if m in self.models],
            "scatter": pack(self.scatter[np.triu_indices(len(self.scatter))]),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LearnerState:
        """Read what ``to_json`` wrote.

        Raises
        ------
        ValueError
            If the format is not one that this version can read (rebuild from the log), or the
            content is damaged.
        """
        if data.get("format") != _FORMAT:
            raise ValueError(f"learner state of format {data.get('format')!r} cannot be read")
        tasks = [_task_key(level, task) for level, task in data["tasks"]]
        models = [str(model) for model in data["models"]]
        qualities: dict[Key, Buckets] = {}
        serving: dict[Key, mo.Serving] = {}
        keys: list[Key] = []
        numbers = unpack(data["table"]).tolist()
        at = 0
        while at < len(numbers):
            task, model, n_buckets = numbers[at : at + 3]
            at += 3
            key = (*tasks[task], models[model])
            keys.append(key)
            for _ in range(n_buckets):
                level, index, n, total = numbers[at : at + 4]
                qualities.setdefault(key, {})[(level, index)] = (n, total)
                at += 4
            served = tuple(numbers[at : at + mo.SERVING_WIDTH])
            at += mo.SERVING_WIDTH
            if any(served):
                serving[key] = served
        with_slopes = data["with_slopes"]
        rows = unpack(data["slopes"]).reshape(len(with_slopes), 2, mo.N_SLOPES)
        scatter = mo.no_scatter()
        upper = np.triu_indices(len(scatter))
        scatter[upper] = unpack(data["scatter"])
        scatter.T[upper] = scatter[upper]
        return cls(
            qualities,
            serving,
            _unpack_moments(data["cells"], keys, mo.N_SLOPES),
            _unpack_moments(data["places"], tasks, N_TEXT_FEATURES),
            {m: mo.ModelMoments(row[0], row[1]) for m, row in zip(with_slopes, rows, strict=True)},
            scatter,
            int(data["newest"]),
            int(data["n_updates"]),
        )


class _Builder:
    """Mutable copy of a state's tables while observations are added."""

    def __init__(self, state: LearnerState) -> None:
        self.qualities = {key: dict(buckets) for key, buckets in state.qualities.items()}
        self.serving = dict(state.serving)
        self.cells = dict(state.cells)
        self.tasks = dict(state.tasks)
        self.models = dict(state.models)
        self.scatter = state.scatter
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

    def build(self, n_updates: int) -> LearnerState:
        self._limit_tasks()
        for key, buckets in self.qualities.items():
            if any(moved(bucket, self.newest) != bucket for bucket in buckets):
                merged: Buckets = {}
                for bucket, (n, total) in buckets.items():
                    target = moved(bucket, self.newest)
                    m, sum_ = merged.get(target, (0, 0))
                    merged[target] = (m + n, sum_ + total)
                self.qualities[key] = merged
        return LearnerState(
            self.qualities,
            self.serving,
            self.cells,
            self.tasks,
            self.models,
            self.scatter,
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


def _pack_moments(table: Mapping[K, mo.Moments], keys: Sequence[K], width: int) -> str:
    rows = np.zeros((len(keys), width + 2), dtype=np.int64)
    for row, key in zip(rows, keys, strict=True):
        if key in table:
            row[0], row[1] = table[key].n, table[key].quality
            row[2:] = table[key].features
    return pack(rows.T.reshape(-1))


def _unpack_moments(text: str, keys: Sequence[K], width: int) -> dict[K, mo.Moments]:
    rows = unpack(text).reshape(width + 2, len(keys)).T
    return {
        key: mo.Moments(int(row[0]), int(row[1]), row[2:].copy())
        for key, row in zip(keys, rows, strict=True)
        if row[0]
    }


def _task_key(level: str, task: str) -> TaskKey:
    if level not in LEVELS:
        raise ValueError(f"learner state names an unknown level {level!r}")
    return next(known for known in LEVELS if known == level), str(task)
