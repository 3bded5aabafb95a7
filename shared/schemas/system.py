"""Liveness, readiness and status on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from shared.schemas.common import LevelName, Response
from shared.schemas.neural import PolicyRef

Verdict = Literal["ok", "failing"]


class Check(Response):
    name: str = Field(examples=["database"])
    status: Verdict
    detail: str | None
    took_ms: float


class Health(Response):
    status: Verdict
    version: str
    checks: list[Check]


class Root(Response):
    name: Literal["Da Vinci"]
    version: str
    links: dict[str, str]


class QueueDepth(Response):
    name: str
    depth: int
    oldest_age_s: float | None
    dead: int | None


class ModelCounts(Response):
    operational: int
    degraded: int
    down: int


class LevelTraffic(Response):
    level: LevelName
    requests_24h: int


class Status(Response):
    version: str
    environment: str
    started_at: datetime
    uptime_s: float = Field(description="Age of the environment that answers.")
    availability_24h: float | None = Field(description="Measured: successes / served; None: none.")
    levels: list[LevelTraffic]
    models: ModelCounts
    policy: PolicyRef | None
    queues: list[QueueDepth]
