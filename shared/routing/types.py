"""Words of the router as types: context, model, policy, snapshot, candidate, decision.

Everything here is immutable plain data. Money is in US dollars, latency in milliseconds
(``_ms``) or seconds (``_s``), quality in [0, 1], probabilities in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from shared.routing.learner import LearnerState

Level = Literal["L1", "L2", "L3", "L4"]
LEVELS: tuple[Level, ...] = ("L1", "L2", "L3", "L4")

Strategy = Literal["greedy", "epsilon_greedy", "inverse_gap", "thompson"]
Health = Literal["operational", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class Constraints:
    """Hard limits of the caller; a model that breaks one is not eligible."""

    models_allowed: frozenset[str] | None = None
    models_denied: frozenset[str] = frozenset()
    max_cost_usd: float | None = None
    max_latency_ms: float | None = None
    region: str | None = None
    min_context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a request before a model is chosen.

    ``text`` is every message's text joined by blank lines; it is read for features only.
    ``tokens_in`` is counted or estimated by the caller of ``decide``.
    """

    text: str
    tokens_in: int
    max_tokens_out: int | None = None
    task_type: str | None = None
    level: Level | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    modalities: frozenset[str] = frozenset({"text"})
    constraints: Constraints = field(default_factory=Constraints)
    previous_model: str | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the router must know of one served model. A price of None is unknown, never 0."""

    id: str
    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    context_tokens: int
    max_tokens_out: int | None = None
    modalities: frozenset[str] = frozenset({"text"})
    region: str | None = None
    health: Health = "operational"
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class LevelPolicy:
    """Objectives and allocation of one level.

    ``models`` None means every registered model; ``primary`` is the fixed model served while the
    learner has not cleared it (None: the best fixed model by the evidence, then by price).
    """

    quality_value_usd: float
    latency_cost_usd_per_s: float
    models: tuple[str, ...] | None = None
    primary: str | None = None
    fallbacks: tuple[str, ...] = ()
    strategy: Strategy = "thompson"
    epsilon: float = 0.1
    max_exploration_share: float = 1.0
    max_exploration_usd_per_day: float | None = None
    switching_cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """One immutable policy version."""

    id: str
    name: str
    version: int
    levels: Mapping[Level, LevelPolicy]
    task_levels: Mapping[str, Level]
    default_level: Level = "L2"
    min_level_confidence: float = 0.4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a decision depends on besides its context, seed and time; immutable, shared."""

    policy: RoutingPolicy
    models: tuple[ModelCard, ...]
    learner: LearnerState
    exploration_spent_usd: Mapping[Level, float] = field(default_factory=dict)


class Candidate(NamedTuple):
    """One registered model as the decision saw it. Predictions are None when not eligible
    before prediction.
    """

    model: str
    quality: float | None
    quality_sd: float | None
    cost_usd: float | None
    latency_ms: float | None
    utility_usd: float | None
    probability: float
    eligible: bool
    why_not: str | None = None
    # Warnings that do not exclude: "price unknown", "no feedback yet", "degraded".
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Margin:
    """The smallest single change that would make ``runner_up`` the best choice.

    ``change`` names it (``quality``, ``cost_usd``, ``quality_value_usd``), ``amount`` is signed
    and in the unit of what changes.
    """

    runner_up: str
    gap_usd: float
    change: str
    amount: float


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice for one context at one time, with the probability of every action."""

    model: str
    propensity: float
    level: Level
    level_confidence: float
    level_source: Literal["caller", "task", "classifier", "default"]
    strategy: Strategy
    explored: bool
    candidates: tuple[Candidate, ...]
    fallbacks: tuple[str, ...]
    features: tuple[float, ...]
    why: str
    margin: Margin | None
    # What the policy would have served without exploring, and the fixed model it was guarded by.
    best_model: str = ""
    fixed_model: str = ""
    # Predicted utility given up by exploring (0 when not explored): what the wallet is charged.
    exploration_cost_usd: float = 0.0
    features_version: int = 0
