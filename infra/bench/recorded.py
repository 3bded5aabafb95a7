"""Recorded prompts with every model's result as arrays, for the benchmarks that know the truth."""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from infra.local.replay.traffic import DATA_DIR, TOKENS_OUT, estimate_tokens
from shared.routing.features import text_features

DEFAULT_DATA: Final = DATA_DIR / "llmrouter9.csv.gz"
COST_WEIGHT: Final = 0.1

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recorded:
    """n prompts, k models.

    ``quality`` (n, k) in [0, 1]; ``utility`` (n, k) is quality less ``COST_WEIGHT`` times the
    cost relative to the dearest model's mean; ``tasks`` (n,) from 0 on; ``features`` (n, d).
    """

    models: tuple[str, ...]
    quality: FloatArray
    utility: FloatArray
    tasks: IntArray
    features: FloatArray


def load(path: Path) -> Recorded:
    """Read a recorded table (gzip CSV or CSV); costs from ``usd|`` columns or its price list.

    Raises
    ------
    ValueError
        If the table has no rows or no ``q|`` columns.
    """
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    models = tuple(name[2:] for name in (rows[0] if rows else {}) if name.startswith("q|"))
    if not models:
        raise ValueError(f"{path} holds no rows with q| columns")
    quality = np.array([[float(row["q|" + m]) for m in models] for row in rows])
    costs = _costs(path, rows, models)
    dearest = float(np.max(costs.mean(axis=0)))
    relative = costs / dearest if dearest > 0 else costs
    _, tasks = np.unique([row["task"] for row in rows], return_inverse=True)
    features = np.array([text_features(row["prompt"]) for row in rows])
    return Recorded(
        models, quality, quality - COST_WEIGHT * relative, tasks.astype(np.int64), features
    )


def best_by_task(
    utility: FloatArray, tasks: IntArray, rows: IntArray, *, shrink: float = 10.0
) -> IntArray:
    """Return for every prompt the model that did best on its task in ``rows``.

    A task's means are shrunk towards the means of all tasks by ``shrink`` observations.
    """
    overall = utility[rows].mean(axis=0)
    chosen = np.empty(int(np.max(tasks)) + 1, dtype=np.int64)
    for task in range(chosen.size):
        mine = rows[tasks[rows] == task]
        means = (utility[mine].sum(axis=0) + shrink * overall) / (mine.size + shrink)
        chosen[task] = int(means.argmax())
    return chosen[tasks]


def _costs(path: Path, rows: list[dict[str, str]], models: tuple[str, ...]) -> FloatArray:
    if "usd|" + models[0] in rows[0]:
        return np.array([[float(row["usd|" + m]) for m in models] for row in rows])
    name = path.name.removesuffix(".gz").removesuffix(".csv") + "_prices.json"
    found = next((f / name for f in (path.parent, DATA_DIR) if (f / name).exists()), None)
    if found is None:
        return np.zeros((len(rows), len(models)))
    prices = json.loads(found.read_text(encoding="utf-8"))
    tokens = np.array([estimate_tokens(row["prompt"]) for row in rows], dtype=np.float64)
    per_in = np.array([prices[m]["usd_per_M_in"] for m in models])
    per_out = np.array([prices[m]["usd_per_M_out"] for m in models])
    return np.asarray((tokens[:, None] * per_in + TOKENS_OUT * per_out) / 1e6)
