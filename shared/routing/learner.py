"""What has been learned, as integer sums that can be added in any order.

Integer addition commutes exactly, so folding a log in any order, in any batches, or again from
zero gives the identical state; a late feedback is simply added when it comes. The state holds

- per (level, task, model): qualities by time bucket, what serving measured, and sums of features;
- per (level, task): where its prompts lie in feature space (to recognise an untagged prompt);
- per model: products of features and quality (what makes a prompt hard for this model);
- sums of closeness to shipped landmarks, per model and per level;
- one scatter matrix of all features, and one of closeness.

``shared.routing.posterior`` turns the sums into expectations. Forgetting happens there too: the
buckets let it find the moment at which a model changed and discount what came before, so nothing
is forgotten as long as nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shared.routing.arrays import FloatArray
from shared.routing.folding import MAX_TASKS_PER_LEVEL, Builder
from shared.routing.observations import FeedbackObservation, Observation, OutcomeObservation
from shared.routing.posterior import Posterior, Prediction
from shared.routing.prices import Prices, prices_of
from shared.routing.serialised import sums_of, to_json
from shared.routing.sums import OWN_TOPIC, Sums
from shared.routing.types import Level, ModelCard

__all__ = [
    "MAX_TASKS_PER_LEVEL",
    "OWN_TOPIC",
    "FeedbackObservation",
    "LearnerState",
    "Observation",
    "OutcomeObservation",
    "Prediction",
]


@dataclass(frozen=True, eq=False)
class LearnerState(Sums):
    """Additive sufficient statistics; immutable. Use only its methods, the layout may change."""

    @classmethod
    def empty(cls) -> LearnerState:
        """Return the state that has seen nothing."""
        return cls()

    def fold(self, observations: Iterable[Observation]) -> LearnerState:
        """Return the state after ``observations``, in whatever order they come.

        ``empty().fold(a).fold(b) == empty().fold(b + a)`` holds exactly.
        """
        outcomes: list[OutcomeObservation] = []
        feedbacks: list[FeedbackObservation] = []
        for observation in observations:
            if isinstance(observation, FeedbackObservation):
                feedbacks.append(observation)
            else:
                outcomes.append(observation)
        if not outcomes and not feedbacks:
            return self
        builder = Builder(self)
        builder.add_outcomes(outcomes)
        builder.add_feedbacks(feedbacks)
        sums = builder.build(self.n_updates + len(outcomes) + len(feedbacks))
        return LearnerState(**vars(sums))

    def predict(
        self,
        features: Sequence[float] | FloatArray,
        *,
        level: Level,
        task_type: str | None,
        tokens_in: int,
        max_tokens_out: int | None,
        models: Sequence[ModelCard],
        prices: Prices | None = None,
    ) -> tuple[Prediction, ...]:
        """Predict quality, cost and latency of each model for one request.

        Parameters
        ----------
        features
            The decision's feature vector (``shared.routing.features``). Empty, or of another
            version: only level and task are used.
        level, task_type
            Without a task, or with one that was hardly seen, the prompt's likely tasks are
            inferred from its features.
        tokens_in
            Tokens of the prompt. ``max_tokens_out`` caps the predicted length.
        models
            Whom to predict; the result has their order. A model never seen starts from its price
            class.
        prices
            Prices with stand-ins of at least these models, where the caller has them already.

        Returns
        -------
        tuple of Prediction

        Notes
        -----
        The first call after a fold solves the posterior (a few milliseconds); later calls reuse
        it, so keep one state object per version.
        """
        prices = prices_of(models) if prices is None else prices
        return self.posterior.predict(
            features, level, task_type, tokens_in, max_tokens_out, models, prices
        )

    @cached_property
    def posterior(self) -> Posterior:
        """The expectations that follow from the sums; solved once per level on demand."""
        return Posterior(self)

    def __eq__(self, other: object) -> bool:
        """Compare the sums, exactly."""
        if not isinstance(other, LearnerState):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        """Hash by what is cheap: equal states have folded equally many observations."""
        return hash((self.n_updates, self.newest))

    def to_json(self) -> dict[str, Any]:
        """Return JSON types; ``from_json`` gives back an equal state. About 4 kB per model."""
        return to_json(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LearnerState:
        """Read what ``to_json`` wrote.

        Raises
        ------
        ValueError
            If the format is not one that this version can read (rebuild from the log), or the
            content is damaged.
        """
        return cls(**vars(sums_of(data)))
