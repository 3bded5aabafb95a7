"""Decide requests and decisions as callers see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from shared.schemas.common import (
    DecisionId,
    LevelName,
    ModelId,
    Problem,
    Request,
    Response,
    TaskType,
    at_most_one_of,
    exactly_one_of,
    needs,
    strictly_json,
)
from shared.schemas.policies import PolicyDocument

Priority = Literal["low", "normal", "high"]
Modality = Literal["text", "image", "audio", "file", "embeddings"]


class Message(Request):
    """One chat message; content is text or OpenAI's list of typed parts."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        Annotated[str, Field(max_length=800_000)]
        | Annotated[list[dict[str, Any]], Field(max_length=2_000)]
        | None
    ) = None


class ConstraintsIn(Request):
    """Hard limits: a model that breaks one is not eligible, whatever it promises."""

    models_allowed: list[ModelId] | None = Field(None, min_length=1, max_length=200)
    models_denied: list[ModelId] = Field(default_factory=list, max_length=200)
    max_cost_usd: float | None = Field(None, gt=0, description="Largest predicted cost, USD.")
    max_latency_ms: float | None = Field(None, gt=0, description="Largest predicted latency, ms.")
    region: str | None = Field(None, max_length=64)
    min_context_tokens: int | None = Field(None, ge=1, le=100_000_000)
    modalities: list[Modality] = Field(
        default_factory=lambda: ["text"],  # type: ignore[arg-type]
        min_length=1,
        max_length=4,
    )


class RouteRequest(Request):
    """Ask which model should serve a prompt. Nothing is sent to any model."""

    model_config = ConfigDict(json_schema_extra=exactly_one_of("prompt", "messages"))

    prompt: str | None = Field(None, max_length=800_000, examples=["Prove that 17 is prime."])
    messages: list[Message] | None = Field(None, min_length=1, max_length=2_000)
    task_type: TaskType | None = None
    level: LevelName | None = Field(None, description="Overrides the classifier.")
    priority: Priority = "normal"
    max_tokens: int | None = Field(None, ge=1, le=10_000_000)
    constraints: ConstraintsIn = Field(default_factory=ConstraintsIn)
    session_id: str | None = Field(
        None, max_length=128, description="Keeps the conversation's model when it is worth it."
    )
    policy: str | None = Field(
        None, max_length=64, description="Policy name; default: the default."
    )
    explain: bool = True

    _strictly_json = model_validator(mode="before")(strictly_json)

    @model_validator(mode="after")
    def _exactly_one_input(self) -> RouteRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send either prompt or messages")
        return self


class CandidateOut(Response):
    """One registered model as the decision saw it."""

    model: str
    quality: float | None = Field(description="Predicted quality in [0, 1].")
    quality_sd: float | None = Field(description="Standard deviation of the quality estimate.")
    cost_usd: float | None = Field(description="Predicted cost, USD.")
    latency_ms: float | None = Field(description="Predicted latency, milliseconds.")
    utility_usd: float | None = Field(description="quality x value - cost - latency cost, USD.")
    probability: float = Field(ge=0, le=1, description="P(this model | context).")
    eligible: bool
    why_not: str | None = Field(description="The constraint that removed it.")
    flags: list[str] = Field(description="What to know of the numbers: price unknown, no feedback.")


class MarginOut(Response):
    """The smallest change that would flip the choice."""

    runner_up: str
    gap_usd: float
    change: str = Field(examples=["cost_usd"])
    amount: float


class PolicyRef(Response):
    name: str = Field(examples=["balanced"])
    version: int = Field(ge=1)


class OutcomeOut(Response):
    """What serving did."""

    status: Literal["success", "error"]
    model: str = Field(description="The model that answered, after fallbacks.")
    error_class: str | None
    latency_ms: float
    tokens_in: int
    tokens_out: int
    cost_usd: float | None = Field(description="None when the price is unknown, never 0 instead.")
    attempts: list[dict[str, Any]] = Field(description="Every upstream call in order.")
    created_at: datetime


class FeedbackOut(Response):
    """What a caller or judge reported, and the reward computed from it."""

    source: str
    score: float = Field(ge=0, le=1)
    label: str | None
    reward_usd: float
    created_at: datetime


class DecisionOut(Response):
    """One choice for one context at one time, with the probability of every action."""

    decision_id: DecisionId
    created_at: datetime
    model: str = Field(description="The chosen model.")
    level: LevelName
    level_confidence: float = Field(ge=0, le=1)
    level_source: Literal["caller", "task", "classifier", "default"]
    task_type: str | None
    requested_model: str
    propensity: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Probability with which the policy chose this model for this context, "
            "fixed at decision time. Needed to evaluate other policies on this decision.",
        ),
    ]
    strategy: str
    explored: bool
    fallbacks: list[str]
    candidates: list[CandidateOut]
    policy: PolicyRef
    track: Literal["stable", "canary", "shadow"]
    learner_version: int
    regret_usd: float = Field(description="Predicted utility given up to explore, USD.")
    tokens_in: int
    why: str
    margin: MarginOut | None
    caller: str


class ReplayOut(Response):
    """Whether a stored decision comes out identical when it is made again."""

    identical: bool | None = Field(description="None: it cannot be recomputed, see impossible.")
    differences: list[str]
    impossible: str | None


class DecisionDetail(DecisionOut):
    """A decision whole: with what became of it."""

    outcome: OutcomeOut | None
    feedback: list[FeedbackOut]
    seed: int = Field(ge=0, le=2**63 - 1, description="Of the one draw; 63 bits.")
    features: list[float]
    text: dict[str, Any] | None = Field(description="Only where storing text is switched on.")
    answer: dict[str, Any] | None = Field(description="Only where storing text is switched on.")
    replay: ReplayOut | None = Field(None, description="Only with ?replay=true.")


class DecisionPage(Response):
    items: list[DecisionDetail]
    next_cursor: str | None


class LevelStatus(Response):
    level: LevelName
    name: str = Field(examples=["Brainstem"])
    primary: str | None = Field(description="Model with the largest probability now.")
    eligible_models: int
    health: Literal["operational", "degraded", "down"]
    exploration_share: float | None = Field(description="Over the last hour; None: no traffic.")


class LearnerStatus(Response):
    version: int
    updated_at: datetime | None
    age_s: float | None
    updates: int


class NeuralStatus(Response):
    levels: list[LevelStatus]
    learner: LearnerStatus
    policy: PolicyRef | None


class ModelEstimate(Response):
    level: LevelName
    quality: float
    quality_sd: float
    cost_usd: float | None
    latency_ms: float
    utility_usd: float | None


class NeuralModel(Response):
    id: str
    status: Literal["operational", "degraded", "down"]
    enabled: bool
    estimates: list[ModelEstimate]


class NeuralModels(Response):
    items: list[NeuralModel]
    next_cursor: str | None


class LevelOut(Response):
    level: LevelName
    name: str
    objective: str
    quality_value_usd: float
    latency_cost_usd_per_s: float
    strategy: str
    epsilon: float
    primary: str | None
    models: list[str] | None
    fallbacks: list[str]
    traffic_share: float | None = Field(description="Over the last 24 h; None: no traffic.")


class LevelPage(Response):
    items: list[LevelOut]
    next_cursor: str | None


class AllocationItem(Response):
    level: LevelName
    model: str
    planned_share: float = Field(description="Probability that the policy gives it now.")
    actual_share: float = Field(description="Share of the level's decisions it received.")
    decisions: int


class AllocationPage(Response):
    items: list[AllocationItem]
    next_cursor: str | None


class BatchRequest(Request):
    """Up to 100 route requests; each is checked on its own."""

    items: list[dict[str, Any]] = Field(
        min_length=1, max_length=100, examples=[[{"prompt": "Prove that 17 is prime."}]]
    )


class BatchItem(Response):
    """The answer to one item: a decision or a problem."""

    index: int = Field(ge=0)
    decision: DecisionOut | None
    problem: Problem | None


class BatchOut(Response):
    items: list[BatchItem]


class PriceOverride(Request):
    input_usd_per_mtok: float = Field(ge=0, le=1e6, examples=[0.15])
    output_usd_per_mtok: float = Field(ge=0, le=1e6, examples=[0.6])


class SimulateRequest(Request):
    """A request, and what to suppose. Without a policy the default one decides."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [at_most_one_of("document", "policy"), needs("version", "policy")]
        }
    )

    request: RouteRequest
    document: PolicyDocument | None = Field(None, description="A draft that is stored nowhere.")
    policy: str | None = Field(None, max_length=64, description="A policy's name.")
    version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Of that policy; default: the active one."
    )
    prices: dict[ModelId, PriceOverride] = Field(default_factory=dict, max_length=200)
    outages: list[ModelId] = Field(default_factory=list, max_length=200)

    @model_validator(mode="after")
    def _one_policy(self) -> SimulateRequest:
        if self.document is not None and self.policy is not None:
            raise ValueError("send either document or policy")
        if self.version is not None and self.policy is None:
            raise ValueError("a version needs the policy's name")
        return self


class SimulatedDecision(Response):
    """What would be chosen; nothing of it is stored."""

    model: str
    level: LevelName
    level_source: Literal["caller", "task", "classifier", "default"]
    propensity: float
    fallbacks: list[str]
    candidates: list[CandidateOut]
    policy: PolicyRef
    why: str
    margin: MarginOut | None


class SimulateOut(Response):
    """As things stand, and as supposed; both drawn with the same seed."""

    baseline: SimulatedDecision | None = Field(description="None: no model is eligible today.")
    simulated: SimulatedDecision
    changed: bool = Field(description="Whether the best model differs.")
