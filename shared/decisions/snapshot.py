"""The router's world as one immutable object, refreshed by a version check, never per request."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from shared.config import Settings
from shared.db.engine import single_statement
from shared.db.tables import learner_states, models, policies, policy_versions, prices, rollups
from shared.decisions.cards import cards_id, keep_cards
from shared.errors import ConflictError, NotFoundError
from shared.kit.clock import utc_now
from shared.kit.waiting import elsewhere
from shared.providers.breaker import open_breakers
from shared.providers.upstream import Upstream
from shared.routing.learner import LearnerState
from shared.routing.types import Level, ModelCard, RoutingPolicy, Snapshot
from shared.schemas.policies import PolicyDocument


class NoPolicyError(ConflictError):
    """There is no default policy: the deployment was not set up."""

    code, title = "no-policy", "No policy"


class PolicyNotFoundError(NotFoundError):
    code, title = "policy-not-found", "Policy not found"


@dataclass(frozen=True, slots=True)
class World:
    """Everything that deciding needs of the database. ``learner_version`` is its watermark."""

    version: tuple[Any, ...]
    policies: Mapping[str, RoutingPolicy]
    default_policy: str | None
    models: tuple[ModelCard, ...]
    models_id: UUID
    upstreams: Mapping[str, Upstream]
    learner: LearnerState
    learner_version: int
    learner_updated_at: datetime | None
    exploration_spent_usd: Mapping[Level, float]

    def policy(self, name: str | None) -> RoutingPolicy:
        """Return the active version of the named policy, or of the default one.

        Raises
        ------
        PolicyNotFoundError
            If no policy has this name.
        NoPolicyError
            If the default was asked for and there is none.
        """
        if name is None:
            if self.default_policy is None:
                raise NoPolicyError("No policy is the default yet. Create one: POST /api/policies.")
            name = self.default_policy
        if name not in self.policies:
            raise PolicyNotFoundError(
                f"There is no policy {name!r}; there are: {', '.join(sorted(self.policies))}."
            )
        return self.policies[name]

    def snapshot(self, policy: RoutingPolicy) -> Snapshot:
        """Return what ``shared.routing.decide`` takes."""
        return Snapshot(policy, self.models, self.learner, self.exploration_spent_usd)


class WorldCache:
    """Keeps the current ``World`` of a process, at most ``snapshot_ttl_s`` behind the database."""

    def __init__(self, engine: sa.Engine, settings: Settings) -> None:
        self._engine = engine
        self._ttl_s = settings.snapshot_ttl_s
        self._world: World | None = None
        self._checked_at = 0.0
        self._lock = threading.Lock()

    def get(self) -> World:
        """Return the world; swaps in a new one when the version has moved, without a pause."""
        world = self._fresh()
        return elsewhere(self._refresh) if world is None else world

    def _refresh(self) -> World:
        with self._lock:
            # Whoever waited for the lock finds what its holder has read.
            world = self._fresh()
            if world is not None:
                return world
            world = self._world
            with single_statement(self._engine) as connection:
                version = _read_version(connection)
                spent = _read_exploration_spend(connection, utc_now())
                if world is None or version != world.version:
                    world = _read_world(connection, version, world, spent)
                else:
                    world = replace(world, exploration_spent_usd=spent)
            self._world = world
            self._checked_at = time.monotonic()
            return world

    def _fresh(self) -> World | None:
        is_fresh = time.monotonic() - self._checked_at < self._ttl_s
        return self._world if is_fresh else None


def _read_version(connection: sa.Connection) -> tuple[Any, ...]:
    columns = (
        _fingerprint(models),
        _fingerprint(policies),
        sa.select(sa.func.max(learner_states.c.version)).scalar_subquery(),
    )
    return (*connection.execute(sa.select(*columns)).one(), open_breakers(connection))


def _fingerprint(table: sa.Table) -> sa.ScalarSelect[Any]:
    """Return a hash over every row's id and last change. The newest change alone would not do:
    of two transactions, the one that changed first may commit last.
    """
    text = sa.cast(table.c.id, sa.Text) + "@" + sa.cast(table.c.updated_at, sa.Text)
    return sa.select(sa.func.sum(sa.func.hashtextextended(text, 0))).scalar_subquery()


def _read_world(
    connection: sa.Connection,
    version: tuple[Any, ...],
    previous: World | None,
    spent: Mapping[Level, float],
) -> World:
    cards, upstreams = _read_models(connection, open_now=version[3])
    active, default = _read_policies(connection)
    learner_version = version[2] or 0
    if previous is not None and previous.learner_version == learner_version:
        learner, updated_at = previous.learner, previous.learner_updated_at
    else:
        learner, updated_at = _read_learner(connection)
    models_id = cards_id(cards)
    keep_cards(connection, models_id, cards)
    return World(
        version, active, default, cards, models_id, upstreams, learner, learner_version,
        updated_at, spent,
    )  # fmt: skip


def _read_models(
    connection: sa.Connection, open_now: frozenset[str]
) -> tuple[tuple[ModelCard, ...], Mapping[str, Upstream]]:
    in_force = current_prices()
    rows = connection.execute(
        sa.select(models, in_force.c.input_usd_per_mtok, in_force.c.output_usd_per_mtok)
        .outerjoin(in_force, in_force.c.model_id == models.c.id)
        .order_by(models.c.id)
    ).all()
    cards = tuple(
        ModelCard(
            id=row.id,
            input_usd_per_mtok=row.input_usd_per_mtok,
            output_usd_per_mtok=row.output_usd_per_mtok,
            context_tokens=row.context_tokens,
            max_tokens_out=row.max_tokens_out,
            modalities=frozenset(row.modalities),
            region=row.region,
            # A model whose breaker is open would only be refused after it was chosen.
            health="down" if row.id in open_now else row.status,
            enabled=row.enabled,
        )
        for row in rows
    )
    upstreams = {
        row.id: Upstream(
            row.id, row.provider, row.base_url, row.upstream_name, row.secret_ref,
            row.latency_source,
        )
        for row in rows
    }  # fmt: skip
    return cards, MappingProxyType(upstreams)


def current_prices() -> sa.Subquery:
    """Return the price in force of every model: the newest row."""
    return (
        sa.select(prices.c.model_id, prices.c.input_usd_per_mtok, prices.c.output_usd_per_mtok)
        .ext(distinct_on(prices.c.model_id))
        .order_by(prices.c.model_id, prices.c.id.desc())
        .subquery("current_prices")
    )


def _read_policies(connection: sa.Connection) -> tuple[Mapping[str, RoutingPolicy], str | None]:
    rows = connection.execute(
        sa.select(
            policy_versions.c.id, policies.c.name, policy_versions.c.version,
            policy_versions.c.document, policies.c.is_default,
        ).join(
            policy_versions,
            (policy_versions.c.policy_id == policies.c.id)
            & (policy_versions.c.version == policies.c.active_version),
        )
    ).all()  # fmt: skip
    active = {
        row.name: PolicyDocument.model_validate(row.document).to_policy(
            row.id, row.name, row.version
        )
        for row in rows
    }
    return MappingProxyType(active), next((row.name for row in rows if row.is_default), None)


def _read_learner(connection: sa.Connection) -> tuple[LearnerState, datetime | None]:
    row = connection.execute(
        sa.select(learner_states.c.state, learner_states.c.created_at)
        .order_by(learner_states.c.version.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return LearnerState.empty(), None
    return LearnerState.from_json(row.state), row.created_at


def _read_exploration_spend(connection: sa.Connection, now: datetime) -> Mapping[Level, float]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = connection.execute(
        sa.select(rollups.c.level, sa.func.sum(rollups.c.exploration_usd))
        .where(rollups.c.grain == "1h", rollups.c.bucket_at >= midnight)
        .group_by(rollups.c.level)
    )
    return MappingProxyType({level: float(spent) for level, spent in rows})
