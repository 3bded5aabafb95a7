"""Read recorded traffic: prompts with the real quality and cost of every model."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Where a source recorded no answer lengths, every model is taken to answer this long.
ASSUMED_TOKENS_OUT = 150
_CHARACTERS_PER_TOKEN = 4.0
_LARGEST_FIELD = 10_000_000


@dataclass(frozen=True)
class Recorded:
    """Rows of one file.

    ``quality`` and ``cost_usd`` have the shape (n_rows, n_models); ``cost_usd`` is None where
    nothing is known of prices.
    """

    prompts: list[str]
    tasks: list[str]
    models: list[str]
    quality: FloatArray
    cost_usd: FloatArray | None

    def take(self, rows: IntArray) -> Recorded:
        """Return the rows at these positions, in this order."""
        return Recorded(
            [self.prompts[i] for i in rows],
            [self.tasks[i] for i in rows],
            self.models,
            self.quality[rows],
            None if self.cost_usd is None else self.cost_usd[rows],
        )


def read_rows(path: Path) -> Recorded:
    """Read a CSV (gzip or plain) of ``id, task, prompt, q|<model>..., usd|<model>...``.

    Without ``usd|`` columns, a file ``<name>_prices.json`` beside it gives prices per million
    tokens; the answer's length is then assumed.

    Raises
    ------
    ValueError
        If a quality is not in [0, 1] or a column is missing.
    """
    with _open(path) as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise ValueError(f"{path} holds no rows")
    models = [name[2:] for name in rows[0] if name.startswith("q|")]
    if not models or "prompt" not in rows[0]:
        raise ValueError(f"{path} needs the columns prompt and q|<model>")
    prompts = [row["prompt"] for row in rows]
    quality = np.array([[float(row[f"q|{model}"]) for model in models] for row in rows])
    if not np.all((quality >= 0.0) & (quality <= 1.0)):
        raise ValueError(f"{path} holds a quality outside [0, 1]")
    cost: FloatArray | None = None
    if all(f"usd|{model}" in rows[0] for model in models):
        cost = np.array([[float(row[f"usd|{model}"]) for model in models] for row in rows])
    else:
        prices = _prices_beside(path)
        if prices is not None and all(model in prices for model in models):
            tokens_in = np.array([len(p) / _CHARACTERS_PER_TOKEN for p in prompts])
            usd_in = np.array([prices[m]["usd_per_M_in"] for m in models]) / 1e6
            usd_out = np.array([prices[m]["usd_per_M_out"] for m in models]) / 1e6
            cost = tokens_in[:, None] * usd_in + ASSUMED_TOKENS_OUT * usd_out
    return Recorded(prompts, [row.get("task") or "" for row in rows], models, quality, cost)


def folds_of(prompts: list[str], n_folds: int, seed: int) -> IntArray:
    """Return the fold of every row; equal prompts always share one."""
    _, index = np.unique(np.array(prompts, dtype=object).astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(int(index.max()) + 1)
    return (order % n_folds)[index]


def _open(path: Path) -> TextIO:
    csv.field_size_limit(_LARGEST_FIELD)
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8")
    return path.open(newline="", encoding="utf-8")


def _prices_beside(path: Path) -> Mapping[str, Mapping[str, float]] | None:
    stem = path.name.split(".")[0]
    for name in _names(stem):
        candidate = path.with_name(f"{name}_prices.json")
        if candidate.exists():
            found: Mapping[str, Mapping[str, float]] = json.loads(candidate.read_text())
            return found
    return None


def _names(stem: str) -> Iterator[str]:
    """Yield the stem and what is left when trailing parts are cut: a_b_test, a_b, a."""
    parts = stem.replace("-", "_").split("_")
    for n in range(len(parts), 0, -1):
        yield "_".join(parts[:n])
