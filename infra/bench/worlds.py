"""The product's own objects for a recorded file: cards, policies, observations, predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.bench.tables import Recorded
from shared.routing.features import text_features, with_level_and_time
from shared.routing.learner import (
    FeedbackObservation,
    LearnerState,
    Observation,
    OutcomeObservation,
)
from shared.routing.prices import prices_of
from shared.routing.types import LEVELS, Level, LevelPolicy, ModelCard, RoutingPolicy, Snapshot

FloatArray = NDArray[np.float64]

# Recorded files say nothing of levels: all rows are served at one, with one setting for all files.
LEVEL: Level = "L3"
START = datetime(2026, 1, 5, tzinfo=UTC)
PACE = timedelta(minutes=1)  # one request a minute

_USUAL_TOKENS_OUT = 400.0
_SAME_PRICE = 1.0


class Predicted(NamedTuple):
    """Predictions for n rows and m models, each array of shape (n, m)."""

    quality: FloatArray
    quality_sd: FloatArray
    quality_level: FloatArray
    cost_usd: FloatArray
    n: FloatArray


class World:
    """Cards and observations of the models of one file.

    What a request cost is recorded, not how that came about, so a card's price is the model's
    mean cost per usual answer in ``train`` and an answer's length is its cost at that price.
    """

    def __init__(self, train: Recorded) -> None:
        cost = train.cost_usd
        self.usd_per_token = (
            np.full(len(train.models), _SAME_PRICE / 1e6)
            if cost is None
            else np.maximum(cost.mean(axis=0), 1e-9) / _USUAL_TOKENS_OUT
        )
        self.cards = tuple(
            ModelCard(model, 0.0, float(usd * 1e6), 1_000_000)
            for model, usd in zip(train.models, self.usd_per_token, strict=True)
        )

    def observations(
        self,
        rows: Recorded,
        features: Sequence[tuple[float, ...]],
        *,
        tags: bool = True,
        start: datetime = START,
    ) -> Iterator[Observation]:
        """Yield what serving every row by every model would have told, as one batch of labels."""
        for i, task in enumerate(rows.tasks):
            for j in range(len(rows.models)):
                yield from self.observed(
                    rows, i, j, features[i], task if tags else None, 1.0, start
                )

    def observed(
        self,
        rows: Recorded,
        i: int,
        j: int,
        features: tuple[float, ...],
        task: str | None,
        propensity: float,
        at: datetime,
        quality: float | None = None,
    ) -> tuple[Observation, ...]:
        """Return outcome and feedback of row i served by model j."""
        model = rows.models[j]
        value = float(rows.quality[i, j]) if quality is None else quality
        feedback = FeedbackObservation(LEVEL, task, model, features, value, propensity, at)
        if rows.cost_usd is None:
            return (feedback,)
        cost = float(rows.cost_usd[i, j])
        tokens = round(cost / float(self.usd_per_token[j]))
        outcome = OutcomeObservation(
            LEVEL, task, model, cost, None, tokens, True, at, None, features
        )
        return (outcome, feedback)

    def snapshot(self, learner: LearnerState, policy: LevelPolicy) -> Snapshot:
        """Return what ``decide`` needs."""
        routing = RoutingPolicy("pol_bench", "bench", 1, dict.fromkeys(LEVELS, policy), {}, LEVEL)
        return Snapshot(routing, self.cards, learner)

    def predict(
        self,
        learner: LearnerState,
        features: Sequence[tuple[float, ...]],
        tasks: Sequence[str | None],
    ) -> Predicted:
        """Predict every row for every model."""
        prices = prices_of(self.cards)
        found = [
            learner.predict(
                vector,
                level=LEVEL,
                task_type=task,
                tokens_in=0,
                max_tokens_out=None,
                models=self.cards,
                prices=prices,
            )
            for vector, task in zip(features, tasks, strict=True)
        ]
        table = np.array(
            [
                [(p.quality, p.quality_sd, p.quality_level, p.cost_usd, p.n) for p in row]
                for row in found
            ]
        )
        return Predicted(*np.moveaxis(table, 2, 0))


def features_of(prompts: Sequence[str]) -> list[tuple[float, ...]]:
    """Return the full feature vector of every prompt at the benchmark's level and time."""
    return [
        tuple(with_level_and_time(text_features(prompt), LEVEL, START).tolist())
        for prompt in prompts
    ]
