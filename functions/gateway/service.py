"""Decide, serve with fallbacks, record what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from functions.gateway import repository
from functions.gateway.errors import AllModelsFailedError, RejectedByProviderError
from functions.gateway.targets import parse_target
from shared.config import Settings
from shared.db.engine import single_statement
from shared.decisions.context import modalities_of, text_of, tokens_of_parts, with_affinity
from shared.decisions.recorder import Recorded, make_decision, record_decision, storable
from shared.decisions.snapshot import World, WorldCache
from shared.decisions.tokens import estimate_tokens
from shared.errors import DomainError
from shared.events.contracts import OutcomeRecordedV1
from shared.events.outbox import outbox_row
from shared.kit.clock import utc_now
from shared.providers.chat import RETRYABLE, Answer, UpstreamCallError
from shared.providers.upstream import Upstream
from shared.routing.types import Constraints, Context, Level, ModelCard
from shared.schemas.gateway import ChatRequest

Complete = Callable[[Upstream, dict[str, Any], float], Answer]
"""``complete(upstream, payload, timeout_s)`` calls one model."""

_STEERING = ("davinci_task", "davinci_level", "davinci_session")
_MAX_ATTEMPTS = 4
_LEAST_TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller says of the request, in headers or metadata."""

    task: str | None = None
    level: Level | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """A served request: the provider's answer and the decision behind it."""

    body: dict[str, Any]
    recorded: Recorded
    model: str
    cost_usd: float | None


def serve(
    engine: sa.Engine, cache: WorldCache, settings: Settings, complete: Complete,
    request: ChatRequest, hints: Hints, caller: str, labels: Mapping[str, str],
) -> Served:  # fmt: skip
    """Serve a chat completion by the model that the policy chooses.

    The decision is durable before the first upstream call, its outcome before the answer.

    Raises
    ------
    NoEligibleModelProblemError
        If no model may serve this request.
    RejectedByProviderError
        If the provider found the request at fault.
    AllModelsFailedError
        If the chosen model and its fallbacks failed.
    """
    world = cache.get()
    target = parse_target(request.model, world)
    payload = _payload(request)
    context = _context(request, payload, hints, target.level, target.model)
    context, session = with_affinity(engine, settings, context, hints.session)
    recorded = make_decision(
        world,
        context,
        settings,
        policy_name=target.policy,
        requested_model=request.model,
        caller=caller,
        labels=labels,
        text={"messages": payload["messages"]},
        session=session,
    )
    with single_statement(engine) as connection:
        record_decision(connection, recorded)
    return _serve_decided(engine, world, settings, complete, payload, recorded)


def _serve_decided(
    engine: sa.Engine, world: World, settings: Settings, complete: Complete,
    payload: dict[str, Any], recorded: Recorded,
) -> Served:  # fmt: skip
    deadline = time.monotonic() + settings.upstream_total_timeout_s
    attempts: list[dict[str, Any]] = []
    failures: list[UpstreamCallError] = []
    decision = recorded.decision
    for model in (decision.model, *decision.fallbacks)[:_MAX_ATTEMPTS]:
        remaining_s = deadline - time.monotonic()
        if failures and remaining_s < _LEAST_TIMEOUT_S:
            break
        try:
            answer = complete(world.upstreams[model], payload, remaining_s)
        except UpstreamCallError as error:
            failures.append(error)
            attempts.append(
                {
                    "model": model,
                    "error_class": error.error_class,
                    "status": error.status,
                    "latency_ms": round(error.latency_ms, 3),
                }
            )
            if error.error_class not in RETRYABLE:
                break
            continue
        attempts.append(
            {
                "model": model,
                "error_class": None,
                "status": answer.status,
                "latency_ms": round(answer.latency_ms, 3),
                "measured_ms": round(answer.measured_ms, 3),
                "usage": answer.usage_source,
            }
        )
        return _success(world, recorded, model, answer, settings, engine, attempts)
    _record(engine, recorded, attempts, utc_now(), error_class=failures[-1].error_class)
    raise _failure(failures, recorded)


def _success(
    world: World, recorded: Recorded, model: str, answer: Answer, settings: Settings,
    engine: sa.Engine, attempts: list[dict[str, Any]],
) -> Served:  # fmt: skip
    tokens_in, tokens_out = answer.tokens_in, answer.tokens_out
    if answer.usage_source == "missing":
        tokens_in = recorded.row["tokens_in"]
        tokens_out = estimate_tokens(_answer_text(answer.body))
    card = next(card for card in world.models if card.id == model)
    cost = cost_usd(card, tokens_in, tokens_out)
    _record(
        engine, recorded, attempts, utc_now(), served_by=model, latency_ms=answer.latency_ms,
        tokens_in=tokens_in, tokens_out=tokens_out, cost=cost,
        text=storable({"choices": answer.body["choices"]}) if settings.store_text else None,
    )  # fmt: skip
    return Served(answer.body, recorded, model, cost)


def cost_usd(card: ModelCard, tokens_in: int, tokens_out: int) -> float | None:
    """Return the price of a call in USD; None, never 0, where a price is unknown."""
    if card.input_usd_per_mtok is None or card.output_usd_per_mtok is None:
        return None
    return (tokens_in * card.input_usd_per_mtok + tokens_out * card.output_usd_per_mtok) / 1e6


def _record(
    engine: sa.Engine, recorded: Recorded, attempts: list[dict[str, Any]], now: datetime, *,
    served_by: str | None = None, latency_ms: float = 0.0, tokens_in: int = 0, tokens_out: int = 0,
    cost: float | None = None, error_class: str | None = None, text: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    status = "success" if served_by is not None else "error"
    last = served_by or attempts[-1]["model"]
    event = OutcomeRecordedV1(
        decision_id=recorded.public_id,
        level=recorded.decision.level,
        model=recorded.decision.model,
        policy_version_id=recorded.policy.id,
        track=recorded.row["track"],
        served_by=last,
        failed=[attempt["model"] for attempt in attempts if attempt["error_class"] is not None],
        status=status,
        error_class=error_class,
        latency_ms=latency_ms,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost_usd=cost,
    )
    outcome = {
        "decision_id": recorded.id,
        "created_at": now,
        "status": status,
        "model": last,
        "error_class": error_class,
        "latency_ms": latency_ms,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost_usd": cost,
        "attempts": attempts,
        "text": text,
    }
    with single_statement(engine) as connection:
        repository.record_outcome(connection, outcome, outbox_row(event, now))


def _failure(failures: list[UpstreamCallError], recorded: Recorded) -> DomainError:
    last = failures[-1]
    headers = {"x-davinci-decision-id": recorded.public_id}
    if last.error_class not in RETRYABLE:
        said = (last.body or {}).get("error")
        message = said.get("message") if isinstance(said, dict) else None
        detail = f"The provider rejected the request: {message or last.detail}."
        return RejectedByProviderError(detail, headers=headers)
    if last.retry_after is not None and last.retry_after.isdigit():
        headers["retry-after"] = last.retry_after
    tried = "; ".join(failure.detail for failure in failures)
    return AllModelsFailedError(
        f"Tried {len(failures)} models, none answered ({tried}).", headers=headers
    )


def _payload(request: ChatRequest) -> dict[str, Any]:
    """Return what the provider is sent: the caller's request without what is ours."""
    payload = request.model_dump(exclude_unset=True)
    metadata = payload.get("metadata")
    if metadata:
        rest = {name: value for name, value in metadata.items() if name not in _STEERING}
        payload["metadata"] = rest
        if not rest:
            del payload["metadata"]
    return payload


def _context(
    request: ChatRequest, payload: dict[str, Any], hints: Hints, level: Level | None,
    model: str | None,
) -> Context:  # fmt: skip
    messages = payload["messages"]
    text = text_of(messages)
    return Context(
        text=text,
        tokens_in=estimate_tokens(text) + tokens_of_parts(messages),
        max_tokens_out=request.max_completion_tokens or request.max_tokens,
        task_type=hints.task,
        level=level or hints.level,
        modalities=modalities_of(messages),
        constraints=Constraints(models_allowed=frozenset({model}) if model is not None else None),
    )


def _answer_text(body: dict[str, Any]) -> str:
    messages = (c.get("message") for c in body["choices"] if isinstance(c, dict))
    return text_of(m for m in messages if isinstance(m, dict))
