"""Fit what ``shared.routing.features`` and ``shared.routing.levels`` ship, from public prompts.

The n-gram axes are a truncated singular value decomposition of the hashed term matrix of all
prompts; no label enters them. The topic classifier is a linear discriminant on the text features,
fitted on each prompt's public task name; the landmarks are centres of the prompts, balanced by
those names. No model's answers enter any of them. Run once per feature version:
``python -m infra.bench.fit_features DATA_DIR``; ``--landmarks`` renews the landmarks alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.bench.tables import read_rows
from shared.routing import ngrams as f
from shared.routing.features import text_features
from shared.routing.moments import fixed_point
from shared.routing.neighbourhoods import N_LANDMARKS, forget_landmarks
from shared.routing.topics import TOPICS, forget_model

FloatArray = NDArray[np.float64]

# How the recorded sources name what is the same topic.
_SAME = {"gsm": "gsm8k", "math-l5": "math"}
_FILES = ("llmrouter9", "zeroeval22", "routellm_mmlu_pair", "routellm_gsm8k_pair")
# A source with many rows of one topic must not drown the others.
_MAX_ROWS_PER_TOPIC = 900
_LLOYD_ROUNDS = 6


def term_matrix(prompts: Sequence[str]) -> NDArray[np.float32]:
    """Return dense term weights of shape (n_prompts, 2**HASH_BITS), float32."""
    matrix = np.zeros((len(prompts), 1 << f.HASH_BITS), dtype=np.float32)
    for row, prompt in enumerate(prompts):
        data = f.lower_sample(prompt)
        present, weights = f.term_weights(f.hashed_ngrams(data))
        matrix[row, present] = weights
    return matrix


def fit_axes(prompts: Sequence[str], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Fit rarity (idf) and the axes, as small integers."""
    terms = term_matrix(prompts)
    document_frequency = (terms > 0).sum(axis=0)
    idf = np.log((1.0 + len(prompts)) / (1.0 + document_frequency)) + 1.0
    rarity = np.rint(idf * 8.0).astype(np.uint8)
    terms *= rarity
    terms /= np.maximum(np.sqrt((terms * terms).sum(axis=1, keepdims=True)), 1e-9)
    rng = np.random.default_rng(seed)
    basis = terms @ rng.standard_normal((terms.shape[1], f.N_TOPICS_AXES + 24), dtype=np.float32)
    for _ in range(4):  # subspace iteration
        basis, _ = np.linalg.qr(basis)
        basis, _ = np.linalg.qr(terms.T @ basis)
        basis = terms @ basis
    basis, _ = np.linalg.qr(basis)
    _, _, axes = np.linalg.svd(basis.T @ terms, full_matrices=False)
    axes = axes[: f.N_TOPICS_AXES].T * rarity[:, None]
    axes = np.clip(axes / (np.abs(axes).max(axis=0) * 0.4), -1.0, 1.0)
    whole = np.rint(axes * 127.0).astype(np.int8)
    projected = (terms / np.maximum(rarity, 1)) @ whole.astype(np.float32)
    return {
        "axes": whole,
        "rarity": rarity,
        "axis_scale": 1.0 / projected.std(axis=0).astype(np.float64),
    }


def fit_topics(vectors: FloatArray, topics: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Fit scaling of the text features and the linear discriminant over ``TOPICS``."""
    mean = vectors.mean(axis=0)
    spread = np.maximum(vectors.std(axis=0), 0.05)
    mean[0], spread[0] = 0.0, 1.0  # the constant stays one
    scaled = (vectors - mean) / spread
    index = np.array([TOPICS.index(topic) for topic in topics])
    means = np.stack([scaled[index == k].mean(axis=0) for k in range(len(TOPICS))])
    within = scaled - means[index]
    covariance = within.T @ within / len(scaled)
    covariance = 0.85 * covariance + 0.15 * np.eye(len(covariance))
    weights = np.linalg.solve(covariance, means.T)
    bias = -0.5 * (means.T * weights).sum(axis=0)  # equal priors: traffic differs from benchmarks
    return {
        "mean": mean,
        "spread": spread,
        "topic_weights": weights.astype(np.float32).astype(np.float64),
        "topic_bias": bias.astype(np.float32).astype(np.float64),
    }


def fit_landmarks(vectors: FloatArray, seed: int = 0) -> NDArray[np.int16]:
    """Return centres of the fixed-point feature vectors, by Lloyd's algorithm."""
    points = fixed_point(vectors).astype(np.float64)
    order = np.random.default_rng(seed).permutation(len(points))
    centres = points[order[:N_LANDMARKS]].copy()
    for _ in range(_LLOYD_ROUNDS):
        nearest = ((centres * centres).sum(axis=1) - 2.0 * points @ centres.T).argmin(axis=1)
        for k in np.unique(nearest):
            centres[k] = points[nearest == k].mean(axis=0)
    return np.rint(centres).astype(np.int16)


def fit(prompts: Sequence[str], topics: Sequence[str], path: Path) -> None:
    """Fit everything and write ``path``."""
    unique = list(dict.fromkeys(prompts))
    shipped = fit_axes(unique)
    _write(path, shipped)
    rows = _balanced(prompts, topics)
    vectors = np.stack([text_features(prompt) for prompt, _ in rows])
    shipped |= fit_topics(vectors, [topic for _, topic in rows])
    _write(path, shipped)
    shipped["landmarks"] = fit_landmarks(vectors)
    _write(path, shipped)


def renew_landmarks(prompts: Sequence[str], topics: Sequence[str], path: Path) -> None:
    """Fit the landmarks alone, leaving every feature as it is."""
    with np.load(path, allow_pickle=False) as data:
        shipped = {name: data[name] for name in data.files}
    vectors = np.stack([text_features(prompt) for prompt, _ in _balanced(prompts, topics)])
    _write(path, {**shipped, "landmarks": fit_landmarks(vectors)})


def _balanced(prompts: Sequence[str], topics: Sequence[str]) -> list[tuple[str, str]]:
    taken: dict[str, int] = {}
    rows = []
    for prompt, topic in dict(zip(prompts, topics, strict=True)).items():
        taken[topic] = taken.get(topic, 0) + 1
        if taken[topic] <= _MAX_ROWS_PER_TOPIC:
            rows.append((prompt, topic))
    return rows


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    np.savez_compressed(path, allow_pickle=False, **arrays)
    f.forget_projection()
    forget_model()
    forget_landmarks()


def topic_of(source: str, task: str) -> str:
    """Return the topic name of a recorded task."""
    return "mmlu" if source == "routellm_mmlu_pair" else _SAME.get(task, task)


def main(argv: Sequence[str] | None = None) -> int:
    """Fit on the recorded sources of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=f.DATA_FILE)
    parser.add_argument("--landmarks", action="store_true", help="renew the landmarks alone")
    arguments = parser.parse_args(argv)
    prompts: list[str] = []
    topics: list[str] = []
    for source in _FILES:
        recorded = read_rows(arguments.folder / f"{source}.csv.gz")
        prompts += recorded.prompts
        topics += [topic_of(source, task) for task in recorded.tasks]
    (renew_landmarks if arguments.landmarks else fit)(prompts, topics, arguments.out)
    sys.stderr.write(f"wrote {arguments.out} from {len(prompts)} prompts\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
