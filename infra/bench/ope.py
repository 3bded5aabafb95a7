"""Off-policy estimates against the truth: error, bias and coverage of each estimator.

A policy that learned which model is best per task from 300 prompts serves with epsilon; the
policy that learned it from half of the prompts is judged from the log alone. Every model's result
is recorded for every prompt, so the judged policy's true mean utility is known. Each resample
draws both policies' prompts, the traffic and the actions anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np

from infra.bench.progress import say
from infra.bench.recorded import DEFAULT_DATA, FloatArray, IntArray, Recorded, best_by_task, load
from infra.bench.report import Row
from shared.routing.evaluation import Estimate, weight_cap_of
from shared.routing.reward_model import ESTIMATORS, LoggedDecisions, estimates_of

_SERVING_ROWS: Final = 300
_BOOTSTRAP_RESAMPLES: Final = 400
# Size of the log -> (goal, the best that was measured before).
_GOAL_RMSE: Final = {2_000: (0.028, 0.032), 5_000: (0.018, 0.019)}
_GOAL_COVERAGE: Final = (0.93, 0.97)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="FILE")
    parser.add_argument("--epsilon", type=float, default=0.3, help="exploration of the log")
    parser.add_argument("--logs", type=_sizes, default=[2_000, 5_000], help="log sizes, 2000,5000")
    parser.add_argument("--resamples", type=int, default=200, help="logs of each size")
    parser.add_argument(
        "--weight-cap", type=float, default=None, help="of clipped DR; default: grows with the log"
    )
    parser.add_argument("--seed", type=int, default=0)


def run(given: argparse.Namespace) -> dict[str, Any]:
    if not 0.0 < given.epsilon <= 1.0 or given.resamples < 1 or min(given.logs) < 2:
        raise SystemExit("epsilon must be in (0, 1], resamples at least 1, logs at least 2")
    recorded = load(given.data)
    result: dict[str, Any] = {
        "data": given.data.name,
        "epsilon": given.epsilon,
        "resamples": given.resamples,
        "weight_cap": {str(n): given.weight_cap or weight_cap_of(n) for n in given.logs},
        "confidence_level": 0.95,
        "logs": {},
    }
    gaps: list[float] = []
    differing: list[float] = []
    for size in given.logs:
        say(f"{given.resamples} logs of {size} decisions")
        errors: dict[str, list[tuple[float, Estimate]]] = {name: [] for name in ESTIMATORS}
        for index in range(given.resamples):
            rng = np.random.default_rng([given.seed, index, size])
            scene = _Scene(recorded, given.epsilon, rng)
            gaps.append(scene.gap)
            differing.append(scene.differing)
            logged, target = scene.draw_log(size, rng)
            found = estimates_of(
                logged, target, weight_cap=given.weight_cap, resamples=_BOOTSTRAP_RESAMPLES,
                seed=index,
            )  # fmt: skip
            for name, estimate in found.items():
                errors[name].append((scene.truth, estimate))
        result["logs"][str(size)] = {name: _figures(pairs) for name, pairs in errors.items()}
    result["mean_gap"] = float(np.mean(gaps))
    result["mean_share_of_differing_choices"] = float(np.mean(differing))
    return result


def rows(result: dict[str, Any]) -> list[Row]:
    lines = []
    for size, figures in result["logs"].items():
        best = figures["dr_clipped"]
        goal = _GOAL_RMSE.get(int(size))
        low, high = _GOAL_COVERAGE
        lines.append(
            Row(
                f"Off-policy RMSE of clipped DR, {size} logs",
                f"{best['rmse']:.4f} (SNIPS {figures['snips']['rmse']:.4f}, "
                f"IPS {figures['ips']['rmse']:.4f})",
                f"<= {goal[0]}, start {goal[1]}" if goal else "",
                best["rmse"] <= goal[0] if goal else None,
            )
        )
        lines.append(
            Row(
                f"Coverage of its 95 % interval, {size} logs",
                f"{best['coverage']:.1%}",
                f"{low:.0%} to {high:.0%}",
                low <= best["coverage"] <= high,
            )
        )
    return lines


class _Scene:
    """Both policies of one resample and the truth about the judged one."""

    def __init__(self, recorded: Recorded, epsilon: float, rng: np.random.Generator) -> None:
        n, k = recorded.utility.shape
        order = rng.permutation(n)
        serving = best_by_task(recorded.utility, recorded.tasks, order[:_SERVING_ROWS])
        self._recorded = recorded
        self._target: IntArray = best_by_task(
            recorded.utility, recorded.tasks, order[: max(1, n // 2)]
        )
        self._logging: FloatArray = np.full((n, k), epsilon / k)
        self._logging[np.arange(n), serving] += 1.0 - epsilon
        self._serving = serving
        self._epsilon = epsilon
        self.truth = float(recorded.utility[np.arange(n), self._target].mean())
        self.gap = self.truth - float((self._logging * recorded.utility).sum(axis=1).mean())
        self.differing = float((serving != self._target).mean())

    def draw_log(self, size: int, rng: np.random.Generator) -> tuple[LoggedDecisions, FloatArray]:
        n, k = self._logging.shape
        shown = rng.integers(0, n, size)
        explores = rng.random(size) < self._epsilon
        actions = np.where(explores, rng.integers(0, k, size), self._serving[shown])
        target = np.zeros((size, k))
        target[np.arange(size), self._target[shown]] = 1.0
        logged = LoggedDecisions(
            rewards=self._recorded.utility[shown, actions],
            actions=actions,
            propensities=self._logging[shown, actions],
            groups=self._recorded.tasks[shown],
            features=self._recorded.features[shown],
        )
        return logged, target


def _figures(pairs: list[tuple[float, Estimate]]) -> dict[str, float | int | None]:
    if not pairs:
        return {"rmse": None, "bias": None, "coverage": None, "mean_width": None, "n": 0}
    errors = np.array([estimate.value - truth for truth, estimate in pairs])
    return {
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "bias": float(errors.mean()),
        "coverage": float(np.mean([e.lower <= truth <= e.upper for truth, e in pairs])),
        "mean_width": float(np.mean([e.upper - e.lower for _, e in pairs])),
        "n": len(pairs),
    }


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
