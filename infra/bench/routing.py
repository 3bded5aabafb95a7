"""``davinci bench routing``: train on labelled rows, route rows kept aside, compare with the truth.

The test rows' qualities, costs and task names never reach the router; it sees their prompts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.bench import learner_size
from infra.bench.curves import COST_WEIGHTS, Point, hull_of, pair_scores
from infra.bench.progress import say
from infra.bench.report import Row
from infra.bench.tables import Recorded, folds_of, read_rows
from infra.bench.worlds import LEVEL, START, Predicted, World, features_of
from infra.local.replay.traffic import DATA_DIR
from shared.routing.caution import guard_deviations
from shared.routing.decide import decide
from shared.routing.learner import LearnerState
from shared.routing.types import Context, LevelPolicy

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_TIMED_DECISIONS = 1000
_FOLDS = 5
RECORDED = ("llmrouter9", "zeroeval22", "routellm_mmlu_pair", "routellm_gsm8k_pair")


class Goal(NamedTuple):
    """One goal on one file; ``start`` is the best that was measured before the router existed.

    ``train_rows``: how many labelled rows are learned from, at random; None: all other folds.
    """

    file: str
    measure: str
    goal: float
    start: float
    text: str
    train_rows: int | None = None

    @property
    def key(self) -> str:
        """Where the file's scores hold it."""
        return self.measure if self.train_rows is None else f"{self.measure}_{self.train_rows}"


GOALS = (
    Goal("routellm_mmlu_pair", "apgr", 0.72, 0.703, "APGR, all labels"),
    Goal("routellm_mmlu_pair", "apgr", 0.65, 0.628, "APGR, 1,500 labels", train_rows=1500),
    Goal("routellm_gsm8k_pair", "apgr", 0.68, 0.662, "APGR, all labels"),
    Goal("llmrouter9", "headroom", 0.32, 0.285, "Headroom closed"),
    Goal(
        "llmrouter9",
        "cost_at_best_single_quality",
        0.18,
        0.206,
        "Cost at the best single's quality",
    ),
    Goal("zeroeval22", "headroom", 0.10, 0.081, "Headroom closed"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--train", type=Path, help="labelled rows to learn from")
    parser.add_argument("--test", type=Path, help="rows to route and score")
    parser.add_argument("--train-rows", type=int, default=None, help="use only so many, at random")
    parser.add_argument("--seed", type=int, default=0)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Return the scores on ``--test`` after learning from ``--train``.

    Without files: five-fold cross-validation on the committed recordings, equal prompts in one
    fold, the mean of the folds per file.
    """
    if given.train is not None and given.test is not None:
        train, test = read_rows(given.train), read_rows(given.test)
        return score(train, test, train_rows=given.train_rows, seed=given.seed)
    if given.train is not None or given.test is not None:
        raise SystemExit("name both --train and --test, or neither")
    files = {}
    for name in RECORDED:
        say(f"{name}, {_FOLDS} folds")
        data = read_rows(DATA_DIR / f"{name}.csv.gz")
        files[name] = _cross_validated(data, given.seed)
        for goal in GOALS:
            if goal.file == name and goal.train_rows is not None:
                few = _cross_validated(data, given.seed, goal.train_rows)
                files[name][goal.key] = few[goal.measure]
    say("learner state")
    size = learner_size.measured(read_rows(DATA_DIR / f"{RECORDED[0]}.csv.gz"))
    return {"folds": _FOLDS, "files": files, "learner": size}


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the table's lines of a cross-validated result."""
    lines = []
    for goal in GOALS:
        value = result["files"][goal.file][goal.key]
        met = value is not None and (value <= goal.goal if _is_cost(goal) else value >= goal.goal)
        lines.append(Row(f"{goal.text}, {goal.file}", f"{value:.3f}", target_of(goal), is_met=met))
    slowest = max(f["decide_ms"]["p99"] for f in result["files"].values())
    typical = max(f["decide_ms"]["p50"] for f in result["files"].values())
    lines.append(
        Row(
            "decide with the recorded models, p50 / p99",
            f"{typical:.2f} / {slowest:.2f} ms",
            "<= 0.5 / 2 ms",
            is_met=typical <= 0.5 and slowest <= 2.0,
        )
    )
    return lines + learner_size.rows(result["learner"])


def target_of(goal: Goal) -> str:
    """Return the goal in words, with where it started from."""
    return f"{'<=' if _is_cost(goal) else '>='} {goal.goal}, start {goal.start}"


def _is_cost(goal: Goal) -> bool:
    return goal.measure == "cost_at_best_single_quality"


def _cross_validated(data: Recorded, seed: int, train_rows: int | None = None) -> dict[str, Any]:
    fold_of = folds_of(data.prompts, _FOLDS, seed)
    scores = [
        score(
            data.take(np.flatnonzero(fold_of != k)), data.take(np.flatnonzero(fold_of == k)),
            train_rows=train_rows, seed=seed + k,
        )
        for k in range(_FOLDS)
    ]  # fmt: skip
    measures = [k for k, v in scores[0].items() if k not in {"rows", "decide_ms"}]
    means = {m: _mean([s[m] for s in scores]) for m in measures}
    timing = {q: float(np.median([s["decide_ms"][q] for s in scores])) for q in ("p50", "p99")}
    return {**means, "decide_ms": timing}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def score(
    train: Recorded,
    test: Recorded,
    *,
    train_rows: int | None = None,
    seed: int = 0,
    timed: bool = True,
) -> dict[str, Any]:
    """Score the router; see the module.

    Raises
    ------
    ValueError
        If the two files do not hold the same models.
    """
    if train.models != test.models:
        raise ValueError("train and test must hold the same models in the same order")
    if train_rows is not None and train_rows < len(train.prompts):
        keep = np.random.default_rng(seed).permutation(len(train.prompts))[:train_rows]
        train = train.take(np.sort(keep))
    world, learner = learn(train)
    predicted = predict(world, learner, test)
    return {
        "rows": {"train": len(train.prompts), "test": len(test.prompts)},
        **scores_of(train, test, predicted),
        "decide_ms": _timing(world, learner, test) if timed else None,
    }


def learn(
    train: Recorded, features: Sequence[tuple[float, ...]] | None = None
) -> tuple[World, LearnerState]:
    """Return the cards, and the learner after every labelled row."""
    world = World(train)
    vectors = features_of(train.prompts) if features is None else features
    return world, LearnerState.empty().fold(world.observations(train, vectors))


def scores_of(train: Recorded, test: Recorded, predicted: Predicted) -> dict[str, Any]:
    """Return every score of the predictions for ``test``."""
    return {
        **_overall(test, predicted),
        **_against_cost(test, predicted),
        **_pair(train, test, predicted),
    }


def predict(world: World, learner: LearnerState, test: Recorded) -> Predicted:
    """Predict the test rows from their prompts alone."""
    return world.predict(learner, features_of(test.prompts), [None] * len(test.prompts))


def choices(predicted: Predicted, cost_weight: float) -> IntArray:
    """Return the model that a greedy policy serves per row, guard included, shape (n_rows,).

    ``cost_weight`` is the quality that one mean request of the dearest model is worth. The same
    rule as ``shared.routing.decide``, for all rows at once.
    """
    dearest = predicted.cost_usd.mean(axis=0).max()
    price = cost_weight / dearest if dearest > 0 else 0.0
    rows = np.arange(len(predicted.quality))
    fixed = np.argmax(predicted.quality_level - price * predicted.cost_usd, axis=1)
    doubt = guard_deviations(predicted.n) * np.hypot(
        predicted.quality_sd, predicted.quality_sd[rows, fixed][:, None]
    )
    doubt[rows, fixed] = 0.0
    lowered = np.maximum(0.0, predicted.quality - doubt)
    return np.argmax(lowered - price * predicted.cost_usd, axis=1)


def _overall(test: Recorded, predicted: Predicted) -> dict[str, Any]:
    rows = np.arange(len(test.prompts))
    return {
        "best_single": float(test.quality.mean(axis=0).max()),
        "oracle": float(test.quality.max(axis=1).mean()),
        "accuracy_at_zero_cost_weight": float(test.quality[rows, choices(predicted, 0.0)].mean()),
    }


def _against_cost(test: Recorded, predicted: Predicted) -> dict[str, float | None]:
    names = ("aiq", "aiq_hull", "aiq_oracle", "headroom", "cost_at_best_single_quality")
    cost = test.cost_usd
    if cost is None:
        return dict.fromkeys(names)
    single_quality, single_cost = test.quality.mean(axis=0), cost.mean(axis=0)
    low, high = float(single_cost.min()), float(single_cost[int(single_quality.argmax())])
    singles = hull_of(list(zip(single_cost.tolist(), single_quality.tolist(), strict=True)))
    routed = hull_of([_point(test, cost, choices(predicted, w)) for w in COST_WEIGHTS.tolist()])
    zero = np.zeros(test.quality.shape)
    truth = Predicted(test.quality, zero, test.quality, cost, zero)
    best = hull_of([_point(test, cost, choices(truth, w)) for w in COST_WEIGHTS.tolist()])
    if high <= low:
        return dict.fromkeys(names)
    aiq, hull, oracle = (curve.area(low, high) for curve in (routed, singles, best))
    needed = routed.cost_of(float(single_quality.max()))
    return {
        "aiq": aiq,
        "aiq_hull": hull,
        "aiq_oracle": oracle,
        "headroom": (aiq - hull) / (oracle - hull) if oracle > hull else None,
        "cost_at_best_single_quality": None if needed is None else needed / high,
    }


def _point(test: Recorded, cost: FloatArray, chosen: IntArray) -> Point:
    rows = np.arange(len(chosen))
    return float(cost[rows, chosen].mean()), float(test.quality[rows, chosen].mean())


def _pair(train: Recorded, test: Recorded, predicted: Predicted) -> dict[str, float | None]:
    if len(test.models) != 2:
        return {"apgr": None, "cpt50": None, "cpt80": None}
    strong = int(train.quality.mean(axis=0).argmax())
    found = pair_scores(
        predicted.quality[:, strong] - predicted.quality[:, 1 - strong],
        test.quality[:, 1 - strong],
        test.quality[:, strong],
    )
    if found is None:
        return {"apgr": None, "cpt50": None, "cpt80": None}
    return {"apgr": found.apgr, "cpt50": found.cpt50, "cpt80": found.cpt80}


def _timing(world: World, learner: LearnerState, test: Recorded) -> dict[str, float]:
    """Time whole decisions, prompt to explanation, on this machine."""
    snapshot = world.snapshot(learner, LevelPolicy(0.01, 0.0))
    prompts = test.prompts[:_TIMED_DECISIONS]
    times = []
    for i, prompt in enumerate(prompts):
        context = Context(text=prompt, tokens_in=max(1, len(prompt) // 4), level=LEVEL)
        started = time.perf_counter()
        decide(context, snapshot, seed=i, now=START)
        times.append((time.perf_counter() - started) * 1000.0)
    found = np.quantile(times, [0.5, 0.99])
    return {"p50": float(found[0]), "p99": float(found[1])}
