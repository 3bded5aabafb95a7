"""What the learner's state weighs, and how long it takes to fold feedback into it.

10,000 judged requests of recorded prompts of 14 tasks, each served by one of 20 models at random:
no two models saw the same prompts, so the state is as varied, and packs as badly, as it gets.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

import numpy as np

from infra.bench.report import Row
from infra.bench.tables import Recorded
from infra.bench.worlds import LEVEL, PACE, START, features_of
from shared.routing.learner import FeedbackObservation, LearnerState, OutcomeObservation

_MODELS: Final = 20
_FEEDBACKS: Final = 10_000
_BATCH: Final = 100


def measured(rows: Recorded) -> dict[str, Any]:
    """Return bytes of the state as JSON and seconds to fold the feedbacks in small batches."""
    rng = np.random.default_rng(0)
    features = features_of(rows.prompts)
    feedbacks, outcomes = [], []
    for step, i in enumerate(rng.integers(0, len(rows.prompts), _FEEDBACKS).tolist()):
        name, at = f"provider/model-{rng.integers(0, _MODELS)}", START + step * PACE
        quality = float(rows.quality[i, step % len(rows.models)])
        feedbacks.append(
            FeedbackObservation(LEVEL, rows.tasks[i], name, features[i], quality, 0.5, at)
        )
        outcomes.append(
            OutcomeObservation(
                LEVEL,
                rows.tasks[i],
                name,
                1e-4 * quality,
                800.0 + i,
                150,
                True,
                at,
                40,
                features[i],
            )
        )
    started = time.perf_counter()
    state = LearnerState.empty()
    for first in range(0, _FEEDBACKS, _BATCH):
        state = state.fold(feedbacks[first : first + _BATCH])
    seconds = time.perf_counter() - started
    state = state.fold(outcomes)
    return {
        "models": _MODELS,
        "feedbacks": _FEEDBACKS,
        "state_bytes": len(json.dumps(state.to_json())),
        "fold_s": seconds,
    }


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the table's lines."""
    size, seconds = result["state_bytes"] / 1000, result["fold_s"]
    return [
        Row(
            f"Learner state, {result['models']} models and 14 tasks",
            f"{size:.0f} kB", "<= 100 kB", is_met=size <= 100,
        ),
        Row(
            f"Folding {result['feedbacks']:,} feedbacks, {_BATCH} at a time",
            f"{seconds:.2f} s", "<= 2 s", is_met=seconds <= 2,
        ),
    ]  # fmt: skip
