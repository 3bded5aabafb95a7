"""What a request needs besides itself: the process's things, and who pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared.config import Settings
from shared.decisions.snapshot import WorldCache
from shared.observability.server_timing import ServerTiming
from shared.providers.breaker import Breakers
from shared.spending.budgets import Budget
from shared.web.admitting import Admission

if TYPE_CHECKING:
    from shared.providers.client import UpstreamClient


@dataclass(frozen=True, slots=True)
class Door:
    """The process's connections and caches."""

    engine: sa.Engine
    cache: WorldCache
    settings: Settings
    client: UpstreamClient
    breakers: Breakers


@dataclass(frozen=True, slots=True)
class Payer:
    """Who asks, with the limits of their key; ``tpm`` is tokens per minute."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    tpm: int | None = None
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """One request's surroundings."""

    door: Door
    payer: Payer
    timing: ServerTiming
    admission: Admission
    longest_s: float
    """The host cuts the request off after that long."""
