"""Feedback in, learning figures out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from shared.schemas.common import DecisionId, LevelName, Problem, Request, Response


class FeedbackCreate(Request):
    """How good an answer was. Send exactly one of score, thumbs or label with score."""

    decision_id: DecisionId
    score: Annotated[float, Field(ge=0, le=1, examples=[0.9])] | None = None
    thumbs: Literal["up", "down"] | None = None
    label: str | None = Field(None, max_length=64, examples=["wrong-language"])
    source: str = Field(
        "caller",
        min_length=1,
        max_length=64,
        description="Who judges; one judgement per decision and source.",
        examples=["thumbs-widget"],
    )

    @model_validator(mode="after")
    def _exactly_one_judgement(self) -> FeedbackCreate:
        if (self.score is None) == (self.thumbs is None):
            raise ValueError("send either score or thumbs")
        return self

    @property
    def value(self) -> float:
        """The judgement as a score in [0, 1]."""
        if self.score is not None:
            return self.score
        return 1.0 if self.thumbs == "up" else 0.0


class Feedback(Response):
    feedback_id: str
    decision_id: DecisionId
    source: str
    score: float
    label: str | None
    reward_usd: float = Field(description="Utility in dollars that this judgement implies.")
    created_at: datetime


class LevelMetrics(Response):
    level: LevelName
    requests: int
    reward_mean_usd: float | None
    reward_ci_usd: tuple[float, float] | None = Field(description="95 % interval of the mean.")
    quality_mean: float | None
    leader: str | None = Field(
        description="Single model with the best lower bound of its estimated value; None: too few "
        "judgements to tell."
    )
    regret_vs_best_fixed_usd: float | None = Field(
        description="Estimated value of always that model, minus the mean reward."
    )
    regret_se_usd: float | None = Field(description="Standard error of that model's value.")
    exploration_share: float | None
    updates: int


class MetricsPoint(Response):
    at: datetime
    requests: int
    cost_usd: float
    latency_p95_ms: float | None
    reward_mean_usd: float | None
    success_rate: float | None


class LearningMetrics(Response):
    """How serving and learning fare over a window; all from rollups, never from scans."""

    window: Literal["1h", "24h", "7d"]
    since: datetime
    requests: int
    successes: int
    failures: int
    cost_usd: float
    tokens_in: int
    tokens_out: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    reward_mean_usd: float | None
    quality_mean: float | None
    regret_vs_best_fixed_usd: float | None = Field(
        description="Best single model per level by self-normalised inverse propensity, minus the "
        "mean reward; per decision, USD."
    )
    regret_se_usd: float | None = Field(description="Standard error of that estimate.")
    exploration_share: float | None
    exploration_usd: float
    updates: int
    state_version: int
    state_age_s: float | None
    levels: list[LevelMetrics]
    series: list[MetricsPoint] = Field(max_length=300)


class FeedbackBatch(Request):
    """Up to 100 judgements; each is checked on its own."""

    items: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=100,
        examples=[[{"decision_id": "dec_019ab3c4d5e67f8091a2b3c4d5e6f708", "score": 1.0}]],
    )


class FeedbackBatchItem(Response):
    """The answer to one item: the stored judgement or a problem."""

    index: int = Field(ge=0)
    feedback: Feedback | None
    added: bool = Field(description="False: this source had judged the same before.")
    problem: Problem | None


class FeedbackBatchOut(Response):
    items: list[FeedbackBatchItem]


class Rebuild(Response):
    """The log folded from zero, compared with the live learner state."""

    state_version: int = Field(description="The live state's version: a sequence of the log.")
    folded_to: int
    events: int
    updates: int
    identical: bool | None = Field(description="None: the log is too long for one request.")
    took_ms: float
