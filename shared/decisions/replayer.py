"""Recompute a stored decision from what it stored, and say whether it comes out identical."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import decisions, policies, policy_versions
from shared.decisions.cards import find_cards
from shared.projections.learner import state_at
from shared.routing.decide import ROUTER_VERSION, replay
from shared.routing.types import Constraints, Context, Decision, Snapshot
from shared.schemas.neural import ReplayOut
from shared.schemas.policies import PolicyDocument

# Of decisions from before it was stored.
_UNSAID_VERSION = 1
_COMPARED = ("model", "propensity", "level", "explored", "why")


def replay_decision(connection: sa.Connection, decision_id: UUID) -> ReplayOut:
    """Decide again from the stored features, registry, policy version, learner version and seed.

    Raises
    ------
    sqlalchemy.exc.NoResultFound
        If there is no such decision.
    """
    row = connection.execute(sa.select(decisions).where(decisions.c.id == decision_id)).one()
    version = row.request.get("router_version", _UNSAID_VERSION)
    if version != ROUTER_VERSION:
        reason = f"version {version} of the router decided, this release has {ROUTER_VERSION}"
        return ReplayOut(identical=None, differences=[], impossible=reason)
    try:
        recomputed = replay(
            stored_context(row),
            _snapshot(connection, row),
            row.features,
            seed=row.seed,
            now=row.created_at,
        )
    except (ValueError, sa.exc.NoResultFound) as error:
        return ReplayOut(identical=None, differences=[], impossible=str(error))
    return ReplayOut(
        identical=not (differences := _differences(row, recomputed)),
        differences=differences,
        impossible=None,
    )


def _differences(row: AnyRow, recomputed: Decision) -> list[str]:
    """Return what differs, to the last bit; candidates are compared one by one."""
    found = [
        f"{name}: stored {getattr(row, name)!r}, recomputed {getattr(recomputed, name)!r}"
        for name in _COMPARED
        if getattr(row, name) != getattr(recomputed, name)
    ]
    again = {c.model: _plain(c._asdict()) for c in recomputed.candidates}
    return found + [
        f"candidate {stored['model']} differs"
        for stored in row.candidates
        if stored != again.get(stored["model"])
    ]


def _plain(candidate: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in candidate.items()}


def _snapshot(connection: sa.Connection, row: AnyRow) -> Snapshot:
    version = connection.execute(
        sa.select(policy_versions.c.document, policies.c.name)
        .join(policies, policies.c.id == policy_versions.c.policy_id)
        .where(policy_versions.c.id == row.policy_version_id)
    ).one()
    document = PolicyDocument.model_validate(version.document)
    policy = document.to_policy(row.policy_version_id, row.policy_name, row.policy_version)
    return Snapshot(
        policy,
        find_cards(connection, row.model_snapshot_id),
        state_at(connection, row.learner_version),
        {row.level: row.exploration_spent_usd},
    )


def stored_context(row: AnyRow) -> Context:
    """Return the context of a stored decision, without its text."""
    facts = row.request
    limits = facts["constraints"]
    allowed = limits["models_allowed"]
    return Context(
        text="",
        tokens_in=row.tokens_in,
        max_tokens_out=facts["max_tokens_out"],
        task_type=row.task_type,
        level=facts["level"],
        priority=facts["priority"],
        modalities=frozenset(facts["modalities"]),
        constraints=Constraints(
            models_allowed=frozenset(allowed) if allowed is not None else None,
            models_denied=frozenset(limits["models_denied"]),
            max_cost_usd=limits["max_cost_usd"],
            max_latency_ms=limits["max_latency_ms"],
            region=limits["region"],
            min_context_tokens=limits["min_context_tokens"],
        ),
        previous_model=facts["previous_model"],
    )
