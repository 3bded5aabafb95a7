"""Rollouts watched all the time: false rollbacks, losses found, better policies promoted.

Recorded traffic is served by the best model per task; a random tenth goes to a canary that is as
good, or whose right answers are lost with 5 % or 20 % probability, or that finds 5 % more of them
(all relative to the control's mean quality). One looks after every single judged decision, which
is more often than every minute, for a week.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from infra.bench.progress import say
from infra.bench.recorded import DEFAULT_DATA, FloatArray, best_by_task, load
from infra.bench.report import Row
from shared.routing.sequences import DifferenceSequence, mixture

_LOSSES: Final = {"5": 0.05, "20": 0.20}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="FILE")
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--share", type=float, default=0.1, help="of the traffic to the canary")
    parser.add_argument("--tolerance", type=float, default=0.02, help="loss that may be promoted")
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--week", type=int, default=100_000, help="judged decisions of a week")
    parser.add_argument(
        "--canary-decisions", type=int, default=5_000, help="allowed to find a loss"
    )
    parser.add_argument("--seed", type=int, default=0)


def run(given: argparse.Namespace) -> dict[str, Any]:
    recorded = load(given.data)
    everyone = np.arange(recorded.tasks.size)
    served = best_by_task(recorded.utility, recorded.tasks, everyone)
    truth = recorded.quality[everyone, served]
    design = DifferenceSequence(
        alpha=given.alpha, smallest_share=given.share, tuned_for=given.canary_decisions
    )
    horizon = math.ceil(given.canary_decisions / given.share * 1.1)
    scenes = {
        "same": (0.0, given.week),
        **{name: (-loss, horizon) for name, loss in _LOSSES.items()},
        "better": (0.05, horizon),
    }
    rolled_back: dict[str, list[int]] = {}
    promoted: dict[str, list[int]] = {}
    for name, (change, length) in scenes.items():
        say(f"{given.runs} rollouts, {name}: {change:+.0%}")
        rolled_back[name], promoted[name] = [], []
        for index in range(given.runs):
            rng = np.random.default_rng([given.seed, index, len(name)])
            down, up = _rollout(truth, change, length, given, design, rng)
            rolled_back[name].append(down)
            promoted[name].append(up)
    found = {
        name: [d for d in rolled_back[name] if 0 < d <= given.canary_decisions] for name in _LOSSES
    }
    return {
        "false_rollback_rate": _share(rolled_back["same"], given.week),
        "detected_5_percent": len(found["5"]) / given.runs,
        "detected_20_percent": len(found["20"]) / given.runs,
        "median_decisions_to_detect": {
            name: float(np.median(found[name])) if found[name] else None for name in _LOSSES
        },
        "promoted_when_better": _share(
            [
                up if up and (not down or up < down) else 0
                for up, down in zip(promoted["better"], rolled_back["better"], strict=True)
            ],
            given.canary_decisions,
        ),
        "promoted_when_5_percent_worse": _share(
            [
                up if up and (not down or up < down) else 0
                for up, down in zip(promoted["5"], rolled_back["5"], strict=True)
            ],
            given.canary_decisions,
        ),
        "alpha": given.alpha,
        "canary_share": given.share,
        "tolerance": given.tolerance,
        "decisions_a_week": given.week,
        "runs": given.runs,
        "control_mean_quality": float(truth.mean()),
        "looks": "after every judged decision",
    }


def rows(result: dict[str, Any]) -> list[Row]:
    false, found = result["false_rollback_rate"], result["detected_5_percent"]
    medians = result["median_decisions_to_detect"]
    return [
        Row(
            "False rollbacks in a week of looking after every decision",
            f"{false:.1%}",
            f"<= {result['alpha']:.0%}",
            false <= result["alpha"],
        ),
        Row(
            "A 5 % loss found within 5,000 canary decisions",
            f"{found:.1%} (median {medians['5']}; 20 % loss: {medians['20']})",
            ">= 90 %",
            found >= 0.9,
        ),
    ]


def _rollout(
    truth: FloatArray,
    change: float,
    length: int,
    given: argparse.Namespace,
    design: DifferenceSequence,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Return after how many canary decisions it was rolled back and promoted; 0: never."""
    rewards = truth[rng.integers(0, truth.size, length)]
    canary = rng.random(length) < given.share
    if change < 0.0:
        rewards = np.where(canary & (rng.random(length) < -change), 0.0, rewards)
    elif change > 0.0:
        mean = float(truth.mean())
        gained = rng.random(length) < change * mean / (1.0 - mean)
        rewards = np.where(canary & gained, 1.0, rewards)
    worse, safe = alarms(rewards, canary, given.share, design, given.tolerance)
    counts = np.cumsum(canary)
    return _first(worse, counts), _first(safe, counts)


def alarms(
    rewards: FloatArray,
    canary: np.ndarray[Any, np.dtype[np.bool_]],
    share: float,
    design: DifferenceSequence,
    tolerance: float,
) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return ``is_worse`` and ``is_no_worse_than`` after every decision, all at once.

    The same numbers as ``DifferenceSequence`` gives one by one.
    """
    before = np.arange(rewards.size, dtype=np.float64)
    baseline = (0.5 + np.cumsum(rewards) - rewards) / (1.0 + before)
    weight = np.where(canary, 1.0 / share, -1.0 / (1.0 - share))
    terms = weight * (rewards - baseline) / design.term_range
    total = np.cumsum(terms)
    variation = np.cumsum((terms - (total - terms) / (1.0 + before)) ** 2)
    shifted = total + (before + 1.0) * tolerance / design.term_range
    threshold = -math.log(design.alpha)
    return (
        _evidence(-total, variation, design.tuning) >= threshold,
        _evidence(shifted, variation, design.tuning) >= threshold,
    )


def _evidence(total: FloatArray, variation: FloatArray, unit: float) -> FloatArray:
    found = np.full(total.shape, -np.inf)
    for weight, size, psi in mixture(unit):
        np.logaddexp(found, weight + size * total - psi * variation, out=found)
    return found


def _first(alarm: np.ndarray[Any, np.dtype[np.bool_]], counts: np.ndarray[Any, Any]) -> int:
    at = int(np.argmax(alarm))
    return int(max(1, counts[at])) if alarm[at] else 0


def _share(decisions: list[int], limit: int) -> float:
    return sum(0 < d <= limit for d in decisions) / len(decisions)
