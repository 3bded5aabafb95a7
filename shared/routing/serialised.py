"""The sums as JSON types and back: packed integers, lossless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from shared.routing import moments as mo
from shared.routing.arrays import FloatArray
from shared.routing.features import N_TEXT_FEATURES
from shared.routing.neighbourhoods import N_LANDMARKS
from shared.routing.packing import pack, unpack
from shared.routing.sums import Buckets, Key, Sums, TaskKey
from shared.routing.types import LEVELS, Level

_FORMAT: Final = 3
_WITHOUT_LANDMARKS: Final = 2  # what releases before the landmarks wrote

K = TypeVar("K")


def to_json(state: Sums) -> dict[str, Any]:
    """Return JSON types; ``from_json`` gives back an equal state. About 3 kB per model."""
    keys = sorted({*state.qualities, *state.serving, *state.cells})
    tasks = sorted({(level, task) for level, task, _ in keys} | set(state.tasks))
    models = sorted({model for _, _, model in keys} | set(state.models))
    buckets = [state.qualities.get(key, {}) for key in keys]
    place = {task: i for i, task in enumerate(tasks)}
    index = [
        (place[key[:2]], models.index(key[2]), len(found))
        for key, found in zip(keys, buckets, strict=True)
    ]
    numbers = [(*bucket, *found[bucket]) for found in buckets for bucket in sorted(found)]
    served = [state.serving.get(key, mo.NOTHING_SERVED) for key in keys]
    return {
        "format": _FORMAT,
        "n_updates": state.n_updates,
        "newest": state.newest,
        "tasks": [list(task) for task in tasks],
        "models": models,
        "keys": _pack_columns(index, 3),
        "qualities": _pack_columns(numbers, 4),
        "serving": _pack_columns(served, mo.SERVING_WIDTH),
        "cells": _pack_moments(_cells_less_usual(state.cells, state.tasks, -1), keys, mo.N_SLOPES),
        "slopes": pack(
            np.concatenate([part for m in models if m in state.models for part in state.models[m]])
            if state.models
            else []
        ),
        "with_slopes": [m for m in models if m in state.models],
        "near": _pack_near(state, models),
        "places": _pack_moments(state.tasks, tasks, N_TEXT_FEATURES),
        "level_places": _pack_moments(state.places, LEVELS, N_LANDMARKS),
        "scatter": _pack_symmetric(state.scatter),
        "near_scatter": _pack_symmetric(state.near_scatter - _usual_scatter(state.places)),
    }


def sums_of(data: Mapping[str, Any]) -> Sums:
    """Read what ``to_json`` wrote.

    Raises
    ------
    ValueError
        If the format is not one that this version can read (rebuild from the log), or the
        content is damaged.
    """
    if data.get("format") not in (_FORMAT, _WITHOUT_LANDMARKS):
        raise ValueError(f"learner state of format {data.get('format')!r} cannot be read")
    has_landmarks = data["format"] == _FORMAT
    tasks = [_task_key(level, task) for level, task in data["tasks"]]
    models = [str(model) for model in data["models"]]
    read = _tables_of if has_landmarks else _tables_without_landmarks
    keys, qualities, serving = read(data, tasks, models)
    with_slopes = data["with_slopes"]
    places = _unpack_moments(data["level_places"], LEVELS, N_LANDMARKS) if has_landmarks else {}
    cells = _unpack_moments(data["cells"], keys, mo.N_SLOPES)
    places_of_tasks = _unpack_moments(data["places"], tasks, N_TEXT_FEATURES)
    rows = unpack(data["slopes"]).reshape(len(with_slopes), 2, mo.N_SLOPES)
    return Sums(
        qualities,
        serving,
        _cells_less_usual(cells, places_of_tasks, 1) if has_landmarks else cells,
        places_of_tasks,
        {m: mo.ModelMoments(row[0], row[1]) for m, row in zip(with_slopes, rows, strict=True)},
        _unpack_near(data["near"], models, places) if has_landmarks else {},
        places,
        _unpack_symmetric(data["scatter"], N_TEXT_FEATURES),
        _unpack_symmetric(data["near_scatter"], N_LANDMARKS) + _usual_scatter(places)
        if has_landmarks
        else mo.no_near_scatter(),
        int(data["newest"]),
        int(data["n_updates"]),
    )


def _tables_of(
    data: Mapping[str, Any], tasks: Sequence[TaskKey], models: Sequence[str]
) -> tuple[list[Key], dict[Key, Buckets], dict[Key, mo.Serving]]:
    index = _unpack_columns(data["keys"], 3)
    numbers = iter(_unpack_columns(data["qualities"], 4))
    keys: list[Key] = [(*tasks[task], models[model]) for task, model, _ in index]
    qualities: dict[Key, Buckets] = {}
    for key, (_, _, n_buckets) in zip(keys, index, strict=True):
        for _ in range(n_buckets):
            level, at, n, total = next(numbers)
            qualities.setdefault(key, {})[(level, at)] = (n, total)
    served = zip(keys, _unpack_columns(data["serving"], mo.SERVING_WIDTH), strict=True)
    return keys, qualities, {key: tuple(cell) for key, cell in served if any(cell)}


def _tables_without_landmarks(
    data: Mapping[str, Any], tasks: Sequence[TaskKey], models: Sequence[str]
) -> tuple[list[Key], dict[Key, Buckets], dict[Key, mo.Serving]]:
    """Read the one table of the older format."""
    keys: list[Key] = []
    qualities: dict[Key, Buckets] = {}
    serving: dict[Key, mo.Serving] = {}
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
    return keys, qualities, serving


def _pack_columns(rows: Sequence[Sequence[int]], width: int) -> str:
    """Pack column by column: numbers of one kind beside each other compress best."""
    return pack(np.array(rows, dtype=np.int64).reshape(-1, width).T.reshape(-1))


def _unpack_columns(text: str, width: int) -> list[list[int]]:
    numbers = unpack(text)
    if numbers.size % width:
        raise ValueError("packed numbers are damaged")
    found: list[list[int]] = numbers.reshape(width, -1).T.tolist()
    return found


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


def _pack_near(state: Sums, models: Sequence[str]) -> str:
    """Pack what differs from the usual closeness and quality, which is smaller."""
    rows = np.zeros((len(models), 2 + 2 * N_LANDMARKS), dtype=np.int64)
    for row, model in zip(rows, models, strict=True):
        if model in state.near:
            near = state.near[model]
            usual = _usual_closeness(state.places, near.n)
            row[:2] = near.n, near.quality
            row[2 : 2 + N_LANDMARKS] = near.closeness - usual
            row[2 + N_LANDMARKS :] = near.products - _usual_products(near.closeness, row)
    return pack(rows.T.reshape(-1))


def _unpack_near(
    text: str, models: Sequence[str], places: Mapping[Level, mo.Moments]
) -> dict[str, mo.NearMoments]:
    found = {}
    for model, row in zip(
        models, unpack(text).reshape(2 + 2 * N_LANDMARKS, len(models)).T, strict=True
    ):
        if row[0]:
            n, quality = int(row[0]), int(row[1])
            closeness = row[2 : 2 + N_LANDMARKS] + _usual_closeness(places, n)
            products = row[2 + N_LANDMARKS :] + _usual_products(closeness, row)
            found[model] = mo.NearMoments(n, quality, closeness, products)
    return found


# Correctly rounded operations on each number alone: the same integers on every machine.


def _cells_less_usual(
    cells: Mapping[Key, mo.Moments], tasks: Mapping[TaskKey, mo.Moments], sign: int
) -> dict[Key, mo.Moments]:
    """Return the cells plus ``sign`` times what as many usual prompts of their task sum to."""
    found = {}
    for key, cell in cells.items():
        task = tasks[key[:2]]
        usual = np.rint(task.features[mo.SLOPES] * (cell.n / task.n)).astype(np.int64)
        found[key] = cell._replace(features=cell.features + sign * usual)
    return found


def _usual_closeness(places: Mapping[Level, mo.Moments], n: int) -> mo.IntArray:
    total, sums = _all_places(places)
    usual: mo.IntArray = np.rint(sums * (n / max(1, total))).astype(np.int64)
    return usual


def _usual_products(closeness: mo.IntArray, row: mo.IntArray) -> mo.IntArray:
    usual: mo.IntArray = np.rint(closeness * (int(row[1]) / int(row[0]))).astype(np.int64)
    return usual


def _usual_scatter(places: Mapping[Level, mo.Moments]) -> mo.IntArray:
    total, sums = _all_places(places)
    usual: mo.IntArray = np.rint(np.outer(sums, sums) / max(1, total)).astype(np.int64)
    return usual


def _all_places(places: Mapping[Level, mo.Moments]) -> tuple[int, FloatArray]:
    sums = np.zeros(N_LANDMARKS, dtype=np.int64)
    for place in places.values():
        sums += place.features
    return sum(place.n for place in places.values()), sums.astype(np.float64)


def _pack_symmetric(matrix: mo.IntArray) -> str:
    return pack(matrix[np.triu_indices(len(matrix))])


def _unpack_symmetric(text: str, width: int) -> mo.IntArray:
    matrix = np.zeros((width, width), dtype=np.int64)
    upper = np.triu_indices(width)
    matrix[upper] = unpack(text)
    matrix.T[upper] = matrix[upper]
    return matrix
