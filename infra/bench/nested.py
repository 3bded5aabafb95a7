"""``davinci bench nested``: choose the router's constants on inner folds, score on outer ones.

For every outer fold the constants are chosen by inner cross-validation on the other folds, of all
files together, as the same settings serve every file; then the fold itself, which no choice has
seen, is scored. The figures say what choosing the constants on the same recordings is worth: the
difference to ``davinci bench routing``. Equal prompts share a fold. The n-gram axes and landmarks
are shipped as they are; no model's answer entered them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from infra.bench.progress import say
from infra.bench.report import Row
from infra.bench.routing import GOALS, RECORDED, learn, scores_of, target_of
from infra.bench.tables import Recorded, folds_of, read_rows
from infra.bench.worlds import Predicted, features_of
from infra.local.replay.traffic import DATA_DIR
from shared.routing import caution, slopes

_OUTER: Final = 5
_INNER: Final = 3
# What each file is judged by while choosing.
_MEASURES: Final = {
    "llmrouter9": "headroom",
    "zeroeval22": "headroom",
    "routellm_mmlu_pair": "apgr",
    "routellm_gsm8k_pair": "apgr",
}


class Constants(NamedTuple):
    """The constants that are chosen: share of the similar view, and the guard."""

    share: float
    guard: float


SHIPPED: Final = Constants(slopes.SIMILAR_SHARE, caution.GUARD_SEASONED)
CANDIDATES: Final = (
    *(SHIPPED._replace(share=share) for share in (0.0, 0.35, 0.7)),
    SHIPPED,
    SHIPPED._replace(guard=0.0),
    SHIPPED._replace(guard=0.3),
)


class _File(NamedTuple):
    rows: Recorded
    features: list[tuple[float, ...]]
    fold: np.ndarray[Any, np.dtype[np.intp]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--seed", type=int, default=0)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Return the outer folds' scores under the chosen constants, and what was chosen."""
    files = {}
    for name in RECORDED:
        rows = read_rows(DATA_DIR / f"{name}.csv.gz")
        fold = folds_of(rows.prompts, _OUTER, given.seed)
        files[name] = _File(rows, features_of(rows.prompts), fold)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in files}
    chosen: Counter[Constants] = Counter()
    for outer in range(_OUTER):
        say(f"outer fold {outer + 1} of {_OUTER}")
        best = _chosen(files, outer, given.seed)
        chosen[best] += 1
        for name, file in files.items():
            apart = file.fold == outer
            found[name].append(
                _scored(file, np.flatnonzero(~apart), np.flatnonzero(apart), [best])[0]
            )
    return {
        "chosen": [{**constants._asdict(), "folds": n} for constants, n in chosen.most_common()],
        "shipped": SHIPPED._asdict(),
        "files": {name: _means(scores) for name, scores in found.items()},
    }


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the table's lines: every routing goal again, with nested constants."""
    lines = []
    for goal in GOALS:
        if goal.train_rows is not None:
            continue
        value = result["files"][goal.file][goal.measure]
        lines.append(
            Row(
                f"{goal.text}, {goal.file}, constants chosen without the scored fold",
                f"{value:.3f}",
                target_of(goal),
            )
        )
    return lines


def _chosen(files: dict[str, _File], outer: int, seed: int) -> Constants:
    """Return the candidate of the best sum of scores over all files' inner folds."""
    gain = np.zeros(len(CANDIDATES))
    for name, file in files.items():
        inside = np.flatnonzero(file.fold != outer)
        inner = folds_of([file.rows.prompts[i] for i in inside], _INNER, seed + 1_000 + outer)
        for k in range(_INNER):
            scores = _scored(file, inside[inner != k], inside[inner == k], CANDIDATES)
            gain += [score[_MEASURES[name]] or 0.0 for score in scores]
    return CANDIDATES[int(gain.argmax())]


def _scored(
    file: _File,
    train: np.ndarray[Any, np.dtype[np.intp]],
    test: np.ndarray[Any, np.dtype[np.intp]],
    candidates: Any,
) -> list[dict[str, Any]]:
    """Return the scores of every candidate; the sums are folded once, as no constant enters."""
    known, kept = file.rows.take(train), file.rows.take(test)
    world, learner = learn(known, [file.features[i] for i in train])
    found = []
    for constants in candidates:
        with _using(constants):
            predicted: Predicted = world.predict(
                replace(learner), [file.features[i] for i in test], [None] * len(test)
            )
            found.append(scores_of(known, kept, predicted))
    return found


@contextmanager
def _using(constants: Constants) -> Iterator[None]:
    """Let the modules use ``constants`` for a while."""
    places = ((slopes, "SIMILAR_SHARE"), (caution, "GUARD_SEASONED"))
    before = [getattr(module, name) for module, name in places]
    try:
        for (module, name), value in zip(places, constants, strict=True):
            setattr(module, name, value)
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)


def _means(scores: list[dict[str, Any]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for measure in scores[0]:
        known = [score[measure] for score in scores if score[measure] is not None]
        found[measure] = float(np.mean(known)) if known else None
    return found
