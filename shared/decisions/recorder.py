"""Make a decision and write it down: what the neural and gateway domains have in common.

One statement writes the decision and its event: one transaction, one round trip.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from shared.auth.tokens import derived_key
from shared.config import Settings
from shared.db.calls import Call, as_json
from shared.db.gathering import ApartError, Gathering, Write
from shared.db.tables import decisions
from shared.decisions.snapshot import World
from shared.errors import ConflictError, FieldError, InvalidInputError, UnavailableError
from shared.events.contracts import NeuralRouteCompletedV1
from shared.events.outbox import outbox_row
from shared.kit.ids import DECISION, floor_at, instant_of, to_text, uuid7
from shared.limits import Bucket, Verdict, arrays_of, verdicts_of
from shared.routing.decide import ROUTER_VERSION, decide
from shared.routing.eligibility import NoEligibleModelError
from shared.routing.types import Context, Decision, RoutingPolicy, Snapshot

_SESSION_MEMORY = timedelta(hours=1)
_ASK_AGAIN_S = 5
# Functions of the database (migration 0006).
_RECORD = "SELECT record_decisions(CAST(%s AS jsonb))::text"
_ADMIT_AND_RECORD = (
    "SELECT backlogs_ns::text, admitted::text FROM admit_and_record_decisions("
    "CAST(%s AS text[]), CAST(%s AS bigint[]), CAST(%s AS bigint[]), CAST(%s AS jsonb))"
)


class NoEligibleModelProblemError(ConflictError):
    """Every registered model was removed by a constraint; says which and what to relax."""

    status, code, title = 422, "no-eligible-model", "No eligible model"


class ModelsDownError(UnavailableError):
    """Every model that could serve this is down; one of them may be back soon."""

    code, title = "models-down", "Every suitable model is down"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision with the identity under which it is stored."""

    id: UUID
    created_at: datetime
    decision: Decision
    policy: RoutingPolicy
    row: Mapping[str, Any]

    @property
    def public_id(self) -> str:
        return to_text(DECISION, self.id)


def make_decision(
    world: World,
    context: Context,
    settings: Settings,
    *,
    policy_name: str | None,
    requested_model: str,
    caller: str,
    labels: Mapping[str, str],
    text: Mapping[str, Any],
    session: str | None = None,
) -> Recorded:
    """Decide for ``context``; nothing is written yet.

    ``text`` is what would be kept of the prompt, if text is stored at all.

    Raises
    ------
    NoEligibleModelProblemError
        With every model's reason and the constraint to relax.
    InvalidInputError
        If a constraint names a model that is not registered.
    """
    policy = world.policy(policy_name)
    _refuse_unknown_models(world, context)
    decision_id = uuid7()
    now = instant_of(decision_id)
    seed = secrets.randbits(63)
    decision = decide_or_explain(context, world.snapshot(policy), seed=seed, now=now)
    objective = policy.levels[decision.level]
    row = {
        "id": decision_id,
        "created_at": now,
        "policy_version_id": UUID(policy.id),
        "policy_name": policy.name,
        "policy_version": policy.version,
        "track": "stable",
        "level": decision.level,
        "level_confidence": decision.level_confidence,
        "level_source": decision.level_source,
        "task_type": context.task_type,
        "requested_model": requested_model,
        "model": decision.model,
        "propensity": decision.propensity,
        "strategy": decision.strategy,
        "explored": decision.explored,
        "quality_value_usd": objective.quality_value_usd,
        "latency_cost_usd_per_s": objective.latency_cost_usd_per_s,
        "tokens_in": context.tokens_in,
        "features_version": decision.features_version,
        "features": decision.features,
        "candidates": [candidate._asdict() for candidate in decision.candidates],
        "fallbacks": decision.fallbacks,
        "request": _request_facts(context),
        "why": decision.why,
        "margin": asdict(decision.margin) if decision.margin is not None else None,
        "seed": seed,
        "learner_version": world.learner_version,
        "model_snapshot_id": world.models_id,
        "exploration_spent_usd": world.exploration_spent_usd.get(decision.level, 0.0),
        "regret_usd": decision.exploration_cost_usd,
        "prompt_hash": keyed_hash(settings, "prompt", context.text),
        "session_hash": session,
        "text": storable(dict(text)) if settings.store_text else None,
        "caller": caller,
        "labels": dict(labels),
    }
    return Recorded(decision_id, now, decision, policy, row)


def decide_or_explain(
    context: Context, snapshot: Snapshot, *, seed: int, now: datetime
) -> Decision:
    """Decide, or say as a problem why no model is eligible.

    Raises
    ------
    NoEligibleModelProblemError
        With every model's reason and the constraint to relax.
    ModelsDownError
        If nothing but that they are down excludes most of them.
    """
    try:
        return decide(context, snapshot, seed=seed, now=now)
    except NoEligibleModelError as error:
        reasons = [FieldError(f"model:{m}", "; ".join(why)) for m, why in error.reasons.items()]
        if error.constraint == "health":
            detail = "Every model that could serve this is down. Ask again shortly."
            headers = {"Retry-After": str(_ASK_AGAIN_S)}
            raise ModelsDownError(detail, errors=reasons, headers=headers) from error
        raise NoEligibleModelProblemError(str(error), errors=reasons) from error


def record_decisions(connection: sa.Connection, made: Sequence[Recorded]) -> None:
    """Write decisions that nobody serves, and their events, in one statement; any open transaction
    is joined.
    """
    if not made:
        return
    Call(_RECORD, (as_json([_entry(recorded, None) for recorded in made]),)).within(connection)


def record_decision(engine: sa.Engine, recorded: Recorded, outcome_due_in_s: float) -> None:
    """Write a decision and its event, as a transaction of its own. It is in flight until its
    outcome is written, and lost when none was by then.
    """
    Call(_RECORD, (as_json([_entry(recorded, outcome_due_in_s)]),)).alone(engine)


class Due(NamedTuple):
    """A decision to be written, as JSON, and what it takes from which buckets."""

    buckets: Sequence[Bucket]
    entry: str


def begin_to_record(
    engine: sa.Engine, buckets: Sequence[Bucket], recorded: Recorded, outcome_due_in_s: float
) -> Write[Due, Verdict | None]:
    """Begin to charge every bucket and to write the decision, in one transaction and one round
    trip; if a bucket lacks the room, neither is done. ``result`` says what the buckets said, None
    where there are none.

    The commit does not wait for the disk. What it wrote outlives this process, and a crash of the
    database too once an outcome was written after it; before that no answer may leave. An outcome
    whose decision a crash took is refused. After a write that failed, the next one is settled when
    this returns, so that nobody goes on with what is unlikely to be written.

    ``result`` raises
    -----------------
    DatabaseUnavailableError
        If the database cannot be reached or breaks off.
    sqlalchemy.exc.DBAPIError, InvalidInputError
        If either fails, or a bucket was used up meanwhile. Nothing was charged or written then;
        ``admit`` and ``record_decision`` apart say which it is.
    """
    writes = _admissions_at(engine)
    is_likely = writes.is_sound
    write = writes.begin(Due(buckets, as_json(_entry(recorded, outcome_due_in_s))))
    if not is_likely:
        write.wait()
    return write


@lru_cache(maxsize=1)
def _admissions_at(engine: sa.Engine) -> Gathering[Due, Verdict | None]:
    def write(due: Sequence[Due], on_sent: Callable[[], None]) -> Sequence[Verdict | None]:
        requests = [one.buckets for one in due]
        entries = "[" + ",".join(one.entry for one in due) + "]"
        row = Call(_ADMIT_AND_RECORD, (*arrays_of(*requests), entries)).alone(engine, on_sent)
        verdicts = verdicts_of(requests, row)
        if len(due) > 1 and any(verdict and not verdict.admitted for verdict in verdicts):
            raise ApartError  # there is no room for all, and may be for some
        return verdicts

    return Gathering(write)


def _entry(recorded: Recorded, outcome_due_in_s: float | None) -> dict[str, Any]:
    event = outbox_row(_event(recorded), recorded.created_at)
    return {"decision": recorded.row, "event": event, "outcome_due_in_s": outcome_due_in_s}


def _event(recorded: Recorded) -> NeuralRouteCompletedV1:
    decision, row = recorded.decision, recorded.row
    return NeuralRouteCompletedV1(
        decision_id=recorded.public_id,
        level=decision.level,
        model=decision.model,
        policy_version_id=recorded.policy.id,
        track=row["track"],
        task_type=row["task_type"],
        policy_name=recorded.policy.name,
        policy_version=recorded.policy.version,
        propensity=decision.propensity,
        explored=decision.explored,
        exploration_usd=decision.exploration_cost_usd,
        caller=row["caller"],
    )


def _request_facts(context: Context) -> dict[str, Any]:
    """Return what an exact replay needs besides the features; no text."""
    limits = context.constraints
    return {
        "router_version": ROUTER_VERSION,
        "level": context.level,
        "priority": context.priority,
        "max_tokens_out": context.max_tokens_out,
        "modalities": sorted(context.modalities),
        "previous_model": context.previous_model,
        "constraints": {
            "models_allowed": sorted(limits.models_allowed)
            if limits.models_allowed is not None
            else None,
            "models_denied": sorted(limits.models_denied),
            "max_cost_usd": limits.max_cost_usd,
            "max_latency_ms": limits.max_latency_ms,
            "region": limits.region,
            "min_context_tokens": limits.min_context_tokens,
        },
    }


def _refuse_unknown_models(world: World, context: Context) -> None:
    limits = context.constraints
    known = world.upstreams.keys()
    errors = [
        FieldError(f"#/constraints/{member}", f"{model!r} is not a registered model")
        for member, named in (
            ("models_allowed", limits.models_allowed or frozenset()),
            ("models_denied", limits.models_denied),
        )
        for model in sorted(named - known)
    ]
    if errors:
        raise InvalidInputError(
            "A constraint names a model that is not registered; GET /api/models lists them.",
            errors=errors,
        )


def storable(value: Any) -> Any:
    """Return a JSON value with U+FFFD for every NUL, which PostgreSQL's JSONB cannot hold."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {storable(name): storable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [storable(member) for member in value]
    return value


def keyed_hash(settings: Settings, purpose: str, text: str) -> str:
    """Return a keyed hash: equals can be found, guesses cannot be checked without the key."""
    return hmac.digest(derived_key(settings, purpose), text.encode(), "sha256").hex()


def find_previous_model(connection: sa.Connection, session_hash: str, now: datetime) -> str | None:
    """Return the model that served this session last, within the life of a prompt cache."""
    since = floor_at(now - _SESSION_MEMORY)
    return connection.scalar(
        sa.select(decisions.c.model)
        .where(decisions.c.session_hash == session_hash, decisions.c.id >= since)
        .order_by(decisions.c.id.desc())
        .limit(1)
    )
