"""/api/neural."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from functions.neural import service
from shared.config import get_settings
from shared.db.engine import get_engine
from shared.decisions.process import get_world_cache
from shared.events.wake import wake_relay
from shared.kit.clock import utc_now
from shared.schemas.common import InstantParameter, LevelName
from shared.schemas.neural import (
    AllocationPage,
    DecisionDetail,
    DecisionOut,
    DecisionPage,
    LevelPage,
    NeuralModels,
    NeuralStatus,
    RouteRequest,
)
from shared.web.callers import CurrentCaller
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor
from shared.web.responses import problems
from shared.web.session import Reader

router = APIRouter(tags=["neural"])

From = Annotated[InstantParameter | None, Query(alias="from", description="Inclusive.")]
Until = Annotated[InstantParameter | None, Query(alias="to", description="Exclusive.")]
Narrow = Annotated[str | None, Query(max_length=128)]


@router.post(
    "/api/neural/route",
    operation_id="neural_route",
    summary="Decide which model should serve a prompt",
    responses=problems(400, 401, 403, 404, 413, 415, 422),
)
async def route(body: RouteRequest, caller: CurrentCaller) -> DecisionOut:
    """Decide only: the decision is recorded, no model is called."""
    settings = get_settings()
    decision = service.route(
        get_engine(), get_world_cache(), settings, body, caller.id, caller.labels
    )
    wake_relay(settings)
    return decision


@router.get(
    "/api/neural/decisions/{decision_id}",
    operation_id="neural_get_decision",
    summary="Get a decision",
    responses=problems(401, 403, 404),
)
async def get_decision(decision_id: str, connection: Reader) -> DecisionDetail:
    """Return one decision whole: candidates, probabilities, outcome, feedback."""
    return service.get_decision(connection, decision_id)


@router.get(
    "/api/neural/history",
    operation_id="neural_history",
    summary="List decisions",
    responses=problems(401, 403, 422),
)
async def history(
    connection: Reader,
    since: From = None,
    until: Until = None,
    level: LevelName | None = None,
    model: Narrow = None,
    policy: Narrow = None,
    task_type: Narrow = None,
    caller: Narrow = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DecisionPage:
    """List decisions, newest first."""
    wanted = service.HistoryFilter(since, until, level, model, policy, task_type, caller)
    position = decode_cursor(cursor) if cursor else None
    items, more = service.history(connection, wanted, position, limit)
    return DecisionPage(items=items, next_cursor=encode_cursor(more) if more else None)


@router.get(
    "/api/neural/status",
    operation_id="neural_status",
    summary="What each level would do now",
    responses=problems(401, 403),
)
async def status(connection: Reader) -> NeuralStatus:
    """Return per level the leading model, its health, exploration, and the learner's age."""
    return service.status(connection, get_world_cache().get(), utc_now())


@router.get(
    "/api/neural/models",
    operation_id="neural_models",
    summary="Models with their estimates",
    responses=problems(401, 403),
)
async def list_models() -> NeuralModels:
    """Return the models that the router can choose, with estimates per level."""
    items = service.list_models(get_world_cache().get(), utc_now())
    return NeuralModels(items=items, next_cursor=None)


@router.get(
    "/api/neural/levels",
    operation_id="neural_levels",
    summary="The four levels",
    responses=problems(401, 403, 409),
)
async def list_levels(connection: Reader) -> LevelPage:
    """Return the levels, their objectives in dollars, and their share of traffic."""
    items = service.list_levels(connection, get_world_cache().get(), utc_now())
    return LevelPage(items=items, next_cursor=None)


@router.get(
    "/api/neural/allocation",
    operation_id="neural_allocation",
    summary="Traffic shares, planned and actual",
    responses=problems(401, 403, 422),
)
async def allocation(connection: Reader, since: From = None) -> AllocationPage:
    """Return the share of each level's traffic per model since `from` (default: 24 hours)."""
    now = utc_now()
    start: datetime = since or now - timedelta(hours=24)
    items = service.allocation(connection, get_world_cache().get(), start, now)
    return AllocationPage(items=items, next_cursor=None)
