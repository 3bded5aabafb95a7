"""Feedback in, learning figures out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from shared.schemas.common import (
    STORABLE,
    DecisionId,
    InstantParameter,
    LevelName,
    ModelId,
    Problem,
    Request,
    Response,
    at_most_one_of,
    exactly_one_of,
    needs,
)
from shared.schemas.policies import PolicyDocument


class FeedbackCreate(Request):
    """How good an answer was. Send exactly one of score, thumbs or label with score."""

    model_config = ConfigDict(json_schema_extra=exactly_one_of("score", "thumbs"))

    decision_id: DecisionId
    score: Annotated[float, Field(ge=0, le=1, examples=[0.9])] | None = None
    thumbs: Literal["up", "down"] | None = None
    label: str | None = Field(None, max_length=64, pattern=STORABLE, examples=["wrong-language"])
    source: str = Field(
        "caller",
        min_length=1,
        max_length=64,
        pattern=STORABLE,
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


class EvaluateRequest(Request):
    """Which policy to judge on which part of the log. Without a target: the default policy."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                at_most_one_of("document", "policy", "model"),
                needs("version", "policy"),
                # A fixed model does not explore.
                {
                    "not": {
                        "required": ["greedy", "model"],
                        "properties": {
                            "greedy": {"const": True},
                            "model": {"not": {"type": "null"}},
                        },
                    }
                },
            ]
        }
    )

    document: PolicyDocument | None = Field(None, description="A draft that is stored nowhere.")
    policy: str | None = Field(None, max_length=64, description="A policy's name.")
    version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Of that policy; default: the active one."
    )
    model: ModelId | None = Field(None, description="One fixed model for everything.")
    greedy: bool = Field(False, description="Take the policy without its exploration.")
    learner: Literal["current", "at_decision"] = Field(
        "current", description="The learner state that the policy is judged with."
    )
    since: InstantParameter | None = Field(None, description="Default: a week before `until`.")
    until: InstantParameter | None = Field(None, description="Default: now.")
    max_decisions: int = Field(
        2_000, ge=2, le=5_000, description="The newest judged decisions of the window."
    )

    @model_validator(mode="after")
    def _one_target(self) -> EvaluateRequest:
        if sum(t is not None for t in (self.document, self.policy, self.model)) > 1:
            raise ValueError("send one of document, policy and model")
        if self.version is not None and self.policy is None:
            raise ValueError("a version needs the policy's name")
        if self.greedy and self.model is not None:
            raise ValueError("a fixed model does not explore; leave out greedy")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self


class EstimateOut(Response):
    """Mean reward per decision in USD, by one estimator."""

    estimator: Literal["logged", "ips", "snips", "dm", "dr", "dr_clipped"]
    value: float
    lower: float
    upper: float
    confidence_level: float
    n: int
    effective_sample_size: float


class ActionOverlap(Response):
    model: str
    target_share: float
    logging_share: float
    not_evaluable_share: float = Field(
        description="Share of the target's choices of this model that the log cannot speak for."
    )


class OverlapOut(Response):
    """How far the log can speak for the target."""

    not_evaluable_share: float
    max_weight: float
    effective_sample_size: float
    actions: list[ActionOverlap]


class EvaluationPart(Response):
    """All traffic, or one level."""

    level: LevelName | None = Field(description="None: all levels together.")
    decisions: int
    logged: EstimateOut = Field(description="What the logging policies themselves earned.")
    estimates: list[EstimateOut]
    overlap: OverlapOut


class EvaluationOut(Response):
    """What the target would have earned on logged decisions, with what cannot be known."""

    target: str
    learner: Literal["current", "at_decision"]
    since: datetime
    until: datetime
    decisions: int
    skipped: int = Field(description="Judged decisions that could not be decided again.")
    weight_cap: float = Field(description="Cap of the estimator `dr_clipped`.")
    recommended: Literal["dr_clipped"]
    parts: list[EvaluationPart]
    warnings: list[str]
    took_ms: float


class LevelConvergence(Response):
    level: LevelName
    leader: str | None = Field(description="Model with the largest estimated reward.")
    runner_up: str | None
    probability_best: float | None
    advantage_usd: float | None = Field(description="Leader less runner-up, per decision.")
    half_width_usd: float | None = Field(description="Of the 95 % interval of the advantage.")
    slope_usd_per_day: float | None = Field(description="Change of the advantage.")
    converged: bool
    converged_since: datetime | None
    reason: str


class Convergence(Response):
    """Per level: is the leader known, and would that survive another week of such traffic?"""

    since: datetime
    until: datetime
    levels: list[LevelConvergence]
