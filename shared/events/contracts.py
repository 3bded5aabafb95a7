"""Events as versioned contracts: the data of each, its EventBridge name and its public type.

``events/schemas`` is generated from here; a change that breaks a published schema needs a new
version class, never an edit.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.schemas.events import EventType


class EventData(BaseModel):
    """Base of all contracts. Members are facts at the time of the event."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    source: ClassVar[str]
    detail_type: ClassVar[str]
    public_type: ClassVar[EventType]
    version: ClassVar[int]


class _AboutDecision(EventData):
    """What read models need to place an event, so that folding it reads nothing else."""

    decision_id: str
    level: str
    model: str = Field(description="The chosen model, whoever answered in the end.")
    policy_version_id: str
    track: Literal["stable", "canary", "shadow"]


class NeuralRouteCompletedV1(_AboutDecision):
    """A decision was made."""

    source = "davinci.neural"
    detail_type = "NeuralRouteCompleted"
    public_type = "neural.route.completed"
    version = 1

    task_type: str | None
    policy_name: str
    policy_version: int
    propensity: float = Field(gt=0, le=1)
    explored: bool
    exploration_usd: float = Field(ge=0, description="Predicted utility given up to explore.")
    caller: str


class OutcomeRecordedV1(_AboutDecision):
    """A decided request was served, or failed for good."""

    source = "davinci.gateway"
    detail_type = "OutcomeRecorded"
    public_type = "outcome.recorded"
    version = 1

    served_by: str
    failed: list[str] = Field(description="Models that were tried before and failed.")
    status: Literal["success", "error"]
    error_class: str | None
    latency_ms: float = Field(ge=0)
    tokens_in: int = Field(ge=0)
    tokens_out: int = Field(ge=0)
    cost_usd: float | None = Field(ge=0)


class FeedbackRecordedV1(_AboutDecision):
    """Somebody judged an answer."""

    source = "davinci.learning"
    detail_type = "FeedbackRecorded"
    public_type = "feedback.recorded"
    version = 1

    served_by: str = Field(description="The model whose answer was judged.")
    feedback_source: str
    score: float = Field(ge=0, le=1)
    reward_usd: float
    propensity: float = Field(gt=0, le=1)


CONTRACTS: tuple[type[EventData], ...] = (
    NeuralRouteCompletedV1,
    OutcomeRecordedV1,
    FeedbackRecordedV1,
)
PUBLIC_TYPES: dict[str, EventType] = {c.detail_type: c.public_type for c in CONTRACTS}
