"""What the learner is told: outcomes when a model has answered, feedback whenever it arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from shared.routing.types import LEVELS, Level


@dataclass(frozen=True, slots=True)
class OutcomeObservation:
    """What serving one decision did.

    ``cost_usd`` and ``tokens_out`` are None where the upstream did not say. A failed request
    (``success`` False) counts against the model's availability, never as latency or length.

    Raises
    ------
    ValueError
        If a number is not finite or negative, the level is unknown or ``at`` is naive.
    """

    level: Level
    task_type: str | None
    model: str
    cost_usd: float | None
    latency_ms: float | None
    tokens_out: int | None
    success: bool
    at: datetime
    tokens_in: int | None = None
    features: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_common(self.level, self.model, self.at)
        for name in ("cost_usd", "latency_ms", "tokens_out", "tokens_in"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value!r}")
        _check_features(self.features)


@dataclass(frozen=True, slots=True)
class FeedbackObservation:
    """A judgement of one served answer: ``quality`` in [0, 1].

    ``features`` and ``propensity`` are those stored with the decision, never recomputed.

    Raises
    ------
    ValueError
        If ``quality`` is not in [0, 1] (NaN included), ``propensity`` not in (0, 1], a feature is
        not finite, the level is unknown or ``at`` is naive.
    """

    level: Level
    task_type: str | None
    model: str
    features: tuple[float, ...]
    quality: float
    propensity: float
    at: datetime

    def __post_init__(self) -> None:
        _check_common(self.level, self.model, self.at)
        if not 0.0 <= self.quality <= 1.0:
            raise ValueError(f"quality must be in [0, 1], got {self.quality!r}")
        if not 0.0 < self.propensity <= 1.0:
            raise ValueError(f"propensity must be in (0, 1], got {self.propensity!r}")
        _check_features(self.features)


Observation = OutcomeObservation | FeedbackObservation


def _check_common(level: str, model: str, at: datetime) -> None:
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    if not model:
        raise ValueError("model must not be empty")
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")


def _check_features(features: tuple[float, ...]) -> None:
    if not all(math.isfinite(value) for value in features):
        raise ValueError("features must be finite")
