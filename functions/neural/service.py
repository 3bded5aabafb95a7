"""Deciding, and showing what was decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from functions.neural import repository
from functions.neural.errors import DecisionNotFoundError
from shared.config import Settings
from shared.db.tables import decisions
from shared.decisions.context import modalities_of, text_of, tokens_of_parts, with_affinity
from shared.decisions.reader import decision_fields, find_decision, list_decisions
from shared.decisions.recorder import Recorded, make_decision, record_decisions
from shared.decisions.replayer import replay_decision
from shared.decisions.snapshot import World, WorldCache
from shared.decisions.tokens import estimate_tokens
from shared.kit.ids import DECISION, MalformedIdError, floor_at, parse
from shared.routing.decide import decide
from shared.routing.eligibility import NoEligibleModelError
from shared.routing.types import LEVELS, Candidate, Constraints, Context, Decision, Health, Level
from shared.schemas.neural import (
    AllocationItem,
    DecisionDetail,
    DecisionOut,
    LearnerStatus,
    LevelOut,
    LevelStatus,
    ModelEstimate,
    NeuralModel,
    NeuralStatus,
    PolicyRef,
    RouteRequest,
)

# Opens a block that writes; see ``shared.web.session.Effect``.
Write = Callable[[], AbstractContextManager[sa.Connection]]

LEVEL_NAMES: Mapping[Level, str] = {
    "L1": "Brainstem",
    "L2": "Limbic",
    "L3": "Neocortex",
    "L4": "NeuroNet",
}
_TYPICAL_TOKENS = 200
_OBJECTIVES: Mapping[Level, str] = {
    "L1": "Reflex: short, trivial, latency first.",
    "L2": "Conversation and tone.",
    "L3": "Analysis and reasoning.",
    "L4": "Code, creation, learning.",
}


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """What a history page is narrowed to; None does not narrow."""

    since: datetime | None = None
    until: datetime | None = None
    level: str | None = None
    model: str | None = None
    policy: str | None = None
    task_type: str | None = None
    caller: str | None = None
    min_regret_usd: float | None = None


def route(
    engine: sa.Engine, cache: WorldCache, settings: Settings, wanted: RouteRequest,
    caller: str, labels: Mapping[str, str], write: Write,
) -> DecisionOut:  # fmt: skip
    """Decide and record in a block of ``write``; nothing is sent to any model.

    Raises
    ------
    NoEligibleModelProblemError
        If the constraints leave no model.
    """
    recorded = decide_one(engine, cache.get(), settings, wanted, caller, labels)
    with write() as connection:
        record_decisions(connection, [recorded])
    return DecisionOut(**decision_fields(recorded.row))


def decide_one(
    engine: sa.Engine, world: World, settings: Settings, wanted: RouteRequest,
    caller: str, labels: Mapping[str, str],
) -> Recorded:  # fmt: skip
    """Decide for one request; nothing is written yet."""
    context, session = with_affinity(engine, settings, context_of(wanted), wanted.session_id)
    return make_decision(
        world,
        context,
        settings,
        policy_name=wanted.policy,
        requested_model="auto",
        caller=caller,
        labels=labels,
        text=wanted.model_dump(include={"prompt", "messages"}, exclude_none=True),
        session=session,
    )


def get_decision(
    connection: sa.Connection, decision_id: str, *, with_replay: bool = False
) -> DecisionDetail:
    """Return one decision whole; ``with_replay`` recomputes it and compares.

    Raises
    ------
    DecisionNotFoundError
        If there is no such decision.
    """
    try:
        found = find_decision(connection, parse(DECISION, decision_id))
    except MalformedIdError:
        found = None
    if found is None:
        raise DecisionNotFoundError(f"There is no decision {decision_id}.")
    if with_replay:
        again = replay_decision(connection, parse(DECISION, decision_id))
        return found.model_copy(update={"replay": again})
    return found


def history(
    connection: sa.Connection, wanted: HistoryFilter, before: str | None, limit: int
) -> tuple[list[DecisionDetail], str | None]:
    """Return a page of decisions, newest first, and the position after it."""
    c = decisions.c
    equal = {
        c.level: wanted.level,
        c.model: wanted.model,
        c.policy_name: wanted.policy,
        c.task_type: wanted.task_type,
        c.caller: wanted.caller,
    }
    conditions: list[sa.ColumnElement[bool]] = [
        column == value for column, value in equal.items() if value is not None
    ]
    # Ids begin with their instant, so time is a range of ids and prunes partitions.
    if wanted.since is not None:
        conditions.append(c.id >= floor_at(wanted.since))
    if wanted.until is not None:
        conditions.append(c.id < floor_at(wanted.until))
    if wanted.min_regret_usd is not None:
        conditions.append(c.regret_usd >= wanted.min_regret_usd)
    if before is not None:
        conditions.append(c.id < parse(DECISION, before))
    items = list_decisions(connection, conditions, limit + 1)
    more = items[limit - 1].decision_id if len(items) > limit else None
    return items[:limit], more


def status(connection: sa.Connection, world: World, now: datetime) -> NeuralStatus:
    """Return what each level would do now and how old the learner's knowledge is."""
    recent = repository.traffic_since(connection, now - timedelta(hours=1), "1m")
    served: dict[str, int] = defaultdict(int)
    explored: dict[str, int] = defaultdict(int)
    for row in recent:
        served[row.level] += row.decisions
        explored[row.level] += row.explored
    levels = []
    for level in LEVELS:
        preview = _preview(world, level, now)
        levels.append(
            LevelStatus(
                level=level,
                name=LEVEL_NAMES[level],
                primary=preview.best_model if preview else None,
                eligible_models=sum(c.eligible for c in _candidates(preview)),
                health=_health(world, preview),
                exploration_share=explored[level] / served[level] if served[level] else None,
            )
        )
    updated_at = world.learner_updated_at
    learner = LearnerStatus(
        version=world.learner_version,
        updated_at=updated_at,
        age_s=(now - updated_at).total_seconds() if updated_at else None,
        updates=world.learner.n_updates,
    )
    return NeuralStatus(levels=levels, learner=learner, policy=_policy_ref(world))


def list_levels(connection: sa.Connection, world: World, now: datetime) -> list[LevelOut]:
    """Return the levels with their objectives and their share of the day's traffic."""
    served: dict[str, int] = defaultdict(int)
    for row in repository.traffic_since(connection, now - timedelta(hours=24), "1h"):
        served[row.level] += row.decisions
    total = sum(served.values())
    policy = world.policy(None)
    return [
        LevelOut(
            level=level,
            name=LEVEL_NAMES[level],
            objective=_OBJECTIVES[level],
            quality_value_usd=rules.quality_value_usd,
            latency_cost_usd_per_s=rules.latency_cost_usd_per_s,
            strategy=rules.strategy,
            epsilon=rules.epsilon,
            primary=rules.primary,
            models=list(rules.models) if rules.models is not None else None,
            fallbacks=list(rules.fallbacks),
            traffic_share=served[level] / total if total else None,
        )
        for level, rules in policy.levels.items()
    ]


def allocation(
    connection: sa.Connection, world: World, since: datetime, now: datetime
) -> list[AllocationItem]:
    """Return each model's share of its level: planned (now's probabilities) and actual."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    totals: dict[str, int] = defaultdict(int)
    for row in repository.traffic_since(connection, since, "1h"):
        counts[row.level, row.model] += row.decisions
        totals[row.level] += row.decisions
    items = []
    for level in LEVELS:
        preview = _preview(world, level, now)
        planned = {c.model: c.probability for c in _candidates(preview) if c.eligible}
        models = sorted(planned.keys() | {m for lv, m in counts if lv == level})
        items += [
            AllocationItem(
                level=level,
                model=model,
                planned_share=planned.get(model, 0.0),
                actual_share=counts[level, model] / totals[level] if totals[level] else 0.0,
                decisions=counts[level, model],
            )
            for model in models
        ]
    return items


def list_models(world: World, now: datetime) -> list[NeuralModel]:
    """Return every registered model with today's estimates per level."""
    estimates: dict[str, list[ModelEstimate]] = defaultdict(list)
    for level in LEVELS:
        preview = _preview(world, level, now)
        for candidate in _candidates(preview):
            if candidate.quality is None or candidate.latency_ms is None:
                continue
            estimates[candidate.model].append(
                ModelEstimate(
                    level=level,
                    quality=candidate.quality,
                    quality_sd=candidate.quality_sd or 0.0,
                    cost_usd=candidate.cost_usd,
                    latency_ms=candidate.latency_ms,
                    utility_usd=candidate.utility_usd,
                )
            )
    return [
        NeuralModel(
            id=card.id, status=card.health, enabled=card.enabled, estimates=estimates[card.id]
        )
        for card in world.models
    ]


def context_of(wanted: RouteRequest) -> Context:
    """Return what the router reads of a request."""
    messages = [m.model_dump() for m in wanted.messages] if wanted.messages is not None else []
    text = wanted.prompt if wanted.prompt is not None else text_of(messages)
    limits = wanted.constraints
    return Context(
        text=text,
        tokens_in=estimate_tokens(text) + tokens_of_parts(messages),
        max_tokens_out=wanted.max_tokens,
        task_type=wanted.task_type,
        level=wanted.level,
        priority=wanted.priority,
        modalities=frozenset(limits.modalities) | modalities_of(messages),
        constraints=Constraints(
            models_allowed=frozenset(limits.models_allowed)
            if limits.models_allowed is not None
            else None,
            models_denied=frozenset(limits.models_denied),
            max_cost_usd=limits.max_cost_usd,
            max_latency_ms=limits.max_latency_ms,
            region=limits.region,
            min_context_tokens=limits.min_context_tokens,
        ),
    )


def _preview(world: World, level: Level, now: datetime) -> Decision | None:
    """Return what the router would do with a typical request of ``level``; None: no model."""
    typical = Context(text="", tokens_in=_TYPICAL_TOKENS, level=level)
    if world.default_policy is None:
        return None
    try:
        return decide(typical, world.snapshot(world.policy(None)), seed=0, now=now)
    except NoEligibleModelError:
        return None


def _candidates(preview: Decision | None) -> tuple[Candidate, ...]:
    return preview.candidates if preview is not None else ()


def _health(world: World, preview: Decision | None) -> Health:
    if preview is None:
        return "down"
    return next(card.health for card in world.models if card.id == preview.best_model)


def _policy_ref(world: World) -> PolicyRef | None:
    if world.default_policy is None:
        return None
    policy = world.policies[world.default_policy]
    return PolicyRef(name=policy.name, version=policy.version)
