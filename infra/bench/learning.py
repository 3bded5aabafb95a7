"""``davinci bench learning``: the router learns online from its own choices on recorded rows.

Every row arrives once, in random order, one a minute; the router decides, sees the quality and
cost of its own choice only, and learns. Utility is ``quality - cost_weight * relative cost``
(relative to the mean cost of the dearest model).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.bench.progress import say
from infra.bench.report import Row
from infra.bench.tables import Recorded, read_rows
from infra.bench.worlds import LEVEL, PACE, START, World, features_of
from infra.local.replay.traffic import DATA_DIR
from shared.routing.decide import replay
from shared.routing.learner import LearnerState, Observation
from shared.routing.types import Context, LevelPolicy, Strategy

FloatArray = NDArray[np.float64]

_CHECKPOINTS = {"1k": 1000, "5k": 5000}
_DRIFT_LOSS = 0.3
# The service refreshes its learner every few seconds: every request while traffic is thin, a few
# requests behind later.
_EAGER_ROWS = 200
_REFRESH_EVERY = 8


class _Run(NamedTuple):
    """Utility per evaluated row: of the learner, of every fixed model, of the oracle."""

    learner: FloatArray
    fixed: FloatArray
    oracle: FloatArray


@dataclass(frozen=True, slots=True)
class Settings:
    """How the traffic is made; the same learner for all."""

    warm_rows: int = 0
    tags: str = "on"
    drift: str = "off"
    cost_weight: float = 0.1
    seeds: int = 6
    strategy: Strategy = "thompson"


# name -> (file, settings, goal, start): the learner's utility, or its advantage over the best fixed
# model; ``start`` is the best that was measured before the router existed.
_GOALS = {
    "llmrouter9, cold, with tags": ("llmrouter9", Settings(), 0.575, 0.569),
    "llmrouter9, 300 labelled, no tags": ("llmrouter9", Settings(300, tags="off"), 0.572, 0.566),
    "zeroeval22, 300 labelled": ("zeroeval22", Settings(300, tags="off"), -0.003, -0.007),
    "llmrouter9, drift": ("llmrouter9", Settings(drift="on"), 0.03, 0.026),
    "zeroeval22, drift": ("zeroeval22", Settings(300, drift="on"), 0.01, 0.009),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--data", type=Path, help="default: the goals' settings, every file")
    parser.add_argument(
        "--warm-rows", type=int, default=0, help="rows labelled for every model before the start"
    )
    parser.add_argument("--tags", choices=("on", "off"), default="on", help="callers name the task")
    parser.add_argument("--drift", choices=("on", "off"), default="off")
    parser.add_argument("--cost-weight", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument(
        "--strategy",
        choices=("greedy", "epsilon_greedy", "inverse_gap", "thompson"),
        default="thompson",
    )


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Return mean utilities and the advantage over the best fixed model in hindsight.

    Without ``--data``: the settings of the goals on the committed recordings.
    """
    if given.data is not None:
        return measure(given.data, _settings_of(given))
    return {
        name: measure(DATA_DIR / f"{file}.csv.gz", settings)
        for name, (file, settings, _, _) in _GOALS.items()
    }


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the table's lines of the goals' settings."""
    lines = []
    for name, (_, settings, goal, start) in _GOALS.items():
        last = result[name]["at"]["all"]
        is_absolute = settings.drift == "off" and goal > 0
        value = last["learner"] if is_absolute else last["advantage"]
        lines.append(
            Row(
                f"Online utility{'' if is_absolute else ' against the hindsight best'}, {name}",
                f"{value:+.4f} (se {last['advantage_se']:.4f})",
                f">= {goal}, start {start}",
                is_met=value >= goal,
            )
        )
    return lines


def measure(data: Path, settings: Settings) -> dict[str, Any]:
    """Run the learner ``settings.seeds`` times through ``data`` and summarise."""
    table = read_rows(data)
    features = features_of(table.prompts)
    runs = []
    for seed in range(settings.seeds):
        say(f"{data.name}: {seed + 1} of {settings.seeds}")
        runs.append(
            _one(
                table,
                features,
                warm_rows=settings.warm_rows,
                tags=settings.tags == "on",
                drift=settings.drift == "on",
                cost_weight=settings.cost_weight,
                strategy=settings.strategy,
                seed=seed,
            )
        )
    return {
        "rows": len(table.prompts),
        "models": len(table.models),
        **asdict(settings),
        "at": {
            name: _summary(runs, limit)
            for name, limit in (*_CHECKPOINTS.items(), ("all", len(table.prompts)))
        },
    }


def _settings_of(given: argparse.Namespace) -> Settings:
    return Settings(**{name: getattr(given, name) for name in Settings.__dataclass_fields__})


def _summary(runs: list[_Run], limit: int) -> dict[str, float | int | None]:
    learner = np.array([run.learner[:limit].mean() for run in runs])
    fixed = np.array([run.fixed[:limit].mean(axis=0).max() for run in runs])
    oracle = np.array([run.oracle[:limit].mean() for run in runs])
    advantage = learner - fixed
    error = advantage.std(ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else None
    return {
        "decisions": int(min([limit, *(len(run.learner) for run in runs)])),
        "learner": float(learner.mean()),
        "best_fixed": float(fixed.mean()),
        "oracle": float(oracle.mean()),
        "advantage": float(advantage.mean()),
        "advantage_se": None if error is None else float(error),
    }


def _one(
    rows: Recorded,
    features: list[tuple[float, ...]],
    *,
    warm_rows: int,
    tags: bool,
    drift: bool,
    cost_weight: float,
    strategy: Strategy,
    seed: int,
) -> _Run:
    order = np.random.default_rng(seed).permutation(len(rows.prompts))
    warm, online = order[:warm_rows], order[warm_rows:]
    world = World(rows.take(warm) if warm_rows else rows)
    cost = rows.cost_usd if rows.cost_usd is not None else np.zeros(rows.quality.shape)
    dearest = float(cost.mean(axis=0).max()) or 1.0
    quality = rows.quality[online].copy()
    if drift:
        best = int((rows.quality - cost_weight * cost / dearest).mean(axis=0).argmax())
        half = len(online) // 2
        quality[half:, best] = np.maximum(0.0, quality[half:, best] - _DRIFT_LOSS)
    utility = quality - cost_weight * cost[online] / dearest

    policy = LevelPolicy(dearest / cost_weight, 0.0, strategy=strategy)
    learner = LearnerState.empty()
    if warm_rows:
        labelled = rows.take(warm)
        learner = learner.fold(world.observations(labelled, [features[i] for i in warm], tags=tags))
    index = {model: j for j, model in enumerate(rows.models)}
    pending: list[Observation] = []
    earned = np.zeros(len(online))
    snapshot = world.snapshot(learner, policy)
    for step, i in enumerate(online.tolist()):
        now = START + (step + 1) * PACE
        if pending and (step < _EAGER_ROWS or step % _REFRESH_EVERY == 0):
            learner = learner.fold(pending)
            pending = []
            snapshot = world.snapshot(learner, policy)
        task = rows.tasks[i] if tags else None
        context = Context(text="", tokens_in=0, task_type=task, level=LEVEL)
        decision = replay(context, snapshot, features[i], seed=seed * 1_000_003 + step, now=now)
        j = index[decision.model]
        earned[step] = utility[step, j]
        pending += world.observed(
            rows, i, j, decision.features, task, decision.propensity, now, float(quality[step, j])
        )
    return _Run(earned, utility, utility.max(axis=1))
