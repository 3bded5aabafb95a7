"""What would happen: decide under other policies, prices or outages. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from functions.neural import repository
from functions.neural.errors import PolicyVersionNotFoundError
from functions.neural.service import context_of
from shared.decisions.recorder import decide_or_explain
from shared.decisions.snapshot import World
from shared.errors import DomainError, FieldError, InvalidInputError
from shared.kit.ids import uuid7
from shared.routing.types import Context, Decision, ModelCard, RoutingPolicy, Snapshot
from shared.schemas.neural import (
    CandidateOut,
    MarginOut,
    PolicyRef,
    PriceOverride,
    SimulatedDecision,
    SimulateOut,
    SimulateRequest,
)
from shared.schemas.policies import PolicyDocument

DRAFT = "draft"


def simulate(
    connection: sa.Connection, world: World, wanted: SimulateRequest, now: datetime
) -> SimulateOut:
    """Decide as things stand and as supposed, with the same seed.

    Raises
    ------
    NoEligibleModelProblemError
        If what is supposed leaves no model.
    PolicyVersionNotFoundError
        If the policy or its version is not there.
    InvalidInputError
        If an override names a model that is not registered.
    """
    _refuse_unknown(world, wanted)
    context = context_of(wanted.request)
    seed = uuid7().int & (1 << 63) - 1
    today = world.policy(wanted.request.policy)
    supposed = _policy(connection, world, wanted) or today
    cards = _cards(world.models, wanted.prices, frozenset(wanted.outages))
    simulated = decide_or_explain(
        context, replace(world.snapshot(supposed), models=cards), seed=seed, now=now
    )
    baseline = _baseline(context, world.snapshot(today), seed, now)
    return SimulateOut(
        baseline=_shown(baseline, today) if baseline is not None else None,
        simulated=_shown(simulated, supposed),
        changed=baseline is None or baseline.best_model != simulated.best_model,
    )


def _baseline(context: Context, snapshot: Snapshot, seed: int, now: datetime) -> Decision | None:
    try:
        return decide_or_explain(context, snapshot, seed=seed, now=now)
    except DomainError:
        return None


def _policy(
    connection: sa.Connection, world: World, wanted: SimulateRequest
) -> RoutingPolicy | None:
    if wanted.document is not None:
        return wanted.document.to_policy(uuid7(), DRAFT, 1)
    if wanted.policy is None:
        return None
    if wanted.version is None:
        return world.policy(wanted.policy)
    row = repository.find_policy_version(connection, wanted.policy, wanted.version)
    if row is None:
        raise PolicyVersionNotFoundError(
            f"There is no version {wanted.version} of a policy {wanted.policy!r}."
        )
    document = PolicyDocument.model_validate(row.document)
    return document.to_policy(row.id, wanted.policy, wanted.version)


def _cards(
    cards: tuple[ModelCard, ...], prices: Mapping[str, PriceOverride], outages: frozenset[str]
) -> tuple[ModelCard, ...]:
    changed = []
    for card in cards:
        price = prices.get(card.id)
        supposed = replace(card, health="down") if card.id in outages else card
        if price is not None:
            supposed = replace(
                supposed,
                input_usd_per_mtok=price.input_usd_per_mtok,
                output_usd_per_mtok=price.output_usd_per_mtok,
            )
        changed.append(supposed)
    return tuple(changed)


def _refuse_unknown(world: World, wanted: SimulateRequest) -> None:
    errors = [
        FieldError(f"#/{member}/{name}", f"{name!r} is not a registered model")
        for member, names in (("prices", wanted.prices), ("outages", wanted.outages))
        for name in names
        if name not in world.upstreams
    ]
    if errors:
        raise InvalidInputError("An override names a model that is not registered.", errors=errors)


def _shown(decision: Decision, policy: RoutingPolicy) -> SimulatedDecision:
    return SimulatedDecision(
        model=decision.model,
        level=decision.level,
        level_source=decision.level_source,
        propensity=decision.propensity,
        fallbacks=list(decision.fallbacks),
        candidates=[
            CandidateOut.model_validate(c, from_attributes=True) for c in decision.candidates
        ],
        policy=PolicyRef(name=policy.name, version=policy.version),
        why=decision.why,
        margin=MarginOut.model_validate(decision.margin, from_attributes=True)
        if decision.margin is not None
        else None,
    )
