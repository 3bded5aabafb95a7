"""Policy documents: what maps a context to action probabilities."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, model_validator

from shared.routing.types import LEVELS, LevelPolicy, RoutingPolicy
from shared.schemas.common import STORABLE, LevelName, ModelId, Request, Response, Slug, TaskType


class LevelDocument(Request):
    """Objectives and allocation of one level."""

    quality_value_usd: float = Field(gt=0, le=1e6, description="What a perfect answer is worth.")
    latency_cost_usd_per_s: float = Field(
        ge=0, le=1e6, description="What a second of waiting costs."
    )
    models: list[ModelId] | None = Field(
        None, min_length=1, max_length=200, description="None: every model."
    )
    primary: ModelId | None = None
    fallbacks: list[ModelId] = Field(default_factory=list, max_length=20)
    strategy: Literal["greedy", "epsilon_greedy", "inverse_gap", "thompson"] = "thompson"
    epsilon: float = Field(0.1, ge=0, le=1)
    max_exploration_share: float = Field(1.0, ge=0, le=1)
    max_exploration_usd_per_day: float | None = Field(None, ge=0, le=1e9)
    switching_cost_usd: float = Field(0.0, ge=0, le=1e6)

    @model_validator(mode="after")
    def _primary_is_listed(self) -> LevelDocument:
        if self.models is not None and self.primary is not None and self.primary not in self.models:
            raise ValueError("primary must be one of models")
        return self


class PolicyDocument(Request):
    """One policy version: all four levels, the tasks that name a level, the default."""

    levels: dict[LevelName, LevelDocument] = Field(
        json_schema_extra={"required": list(LEVELS), "maxProperties": len(LEVELS)}
    )
    task_levels: dict[TaskType, LevelName] = Field(default_factory=dict, max_length=1_000)
    default_level: LevelName = "L2"
    min_level_confidence: float = Field(0.4, ge=0, le=1)

    @model_validator(mode="after")
    def _every_level(self) -> PolicyDocument:
        missing = [level for level in LEVELS if level not in self.levels]
        if missing:
            raise ValueError(f"levels {', '.join(missing)} are missing")
        return self

    def to_policy(self, version_id: UUID, name: str, version: int) -> RoutingPolicy:
        """Return the document as the router reads it."""
        levels = {
            level: LevelPolicy(
                **{
                    **document.model_dump(),
                    "models": tuple(document.models) if document.models is not None else None,
                    "fallbacks": tuple(document.fallbacks),
                }
            )
            for level, document in self.levels.items()
        }
        return RoutingPolicy(
            id=str(version_id),
            name=name,
            version=version,
            levels=levels,
            task_levels=dict(self.task_levels),
            default_level=self.default_level,
            min_level_confidence=self.min_level_confidence,
        )


class PolicyCreate(Request):
    name: Slug = Field(examples=["cost-aware"])
    description: str = Field("", max_length=2_000, pattern=STORABLE)
    document: PolicyDocument


class Policy(Response):
    id: str = Field(examples=["pol_019ab3c4d5e67f8091a2b3c4d5e6f708"])
    name: str
    description: str
    is_default: bool
    active_version: int
    document: PolicyDocument
    created_at: datetime
    updated_at: datetime


class PolicyPage(Response):
    items: list[Policy]
    next_cursor: str | None
