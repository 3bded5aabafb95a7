"""/api/neural."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from functions.neural import batch, service, simulation
from functions.neural.export import as_csv
from shared.config import get_settings
from shared.db.engine import get_engine
from shared.decisions.process import get_world_cache
from shared.decisions.snapshot import World
from shared.events.wake import wake_relay
from shared.kit.clock import utc_now
from shared.schemas.common import InstantParameter, LevelName
from shared.schemas.neural import (
    AllocationPage,
    BatchOut,
    BatchRequest,
    DecisionDetail,
    DecisionOut,
    DecisionPage,
    LevelPage,
    NeuralModels,
    NeuralStatus,
    RouteRequest,
    SimulateOut,
    SimulateRequest,
)
from shared.web.callers import CurrentCaller
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor, refuse_empty_span
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader, Writes

router = APIRouter(tags=["neural"], route_class=Route)

From = Annotated[InstantParameter | None, Query(alias="from", description="Inclusive.")]
Until = Annotated[InstantParameter | None, Query(alias="to", description="Exclusive.")]
Narrow = Annotated[str | None, Query(max_length=128)]


async def _world() -> World:
    return get_world_cache().get()


CurrentWorld = Annotated[World, Depends(_world)]
"""Declare it before any ``Reader``: refreshing takes a connection, and a pool may hold only one."""


@router.post(
    "/api/neural/route",
    operation_id="neural_route",
    summary="Decide which model should serve a prompt",
    responses=problems(400, 401, 403, 404, 413, 415, 422),
)
async def route(body: RouteRequest, caller: CurrentCaller, writes: Writes) -> DecisionOut:
    """Decide only: the decision is recorded, no model is called."""
    settings = get_settings()
    decision = service.route(
        get_engine(), get_world_cache(), settings, body, caller.id, caller.labels,
        writes.single_statement,
    )  # fmt: skip
    writes.then(lambda: wake_relay(settings))
    return decision


@router.post(
    "/api/neural/route/batch",
    operation_id="neural_route_batch",
    summary="Decide for up to 100 prompts",
    responses=problems(400, 401, 403, 413, 415, 422),
)
async def route_batch(body: BatchRequest, caller: CurrentCaller, writes: Writes) -> BatchOut:
    """Decide for each item in order; a bad item gets its problem and does not fail the others."""
    settings = get_settings()
    world = get_world_cache().get()
    answer = batch.route_all(
        get_engine(), world, settings, body, caller.id, caller.labels, writes.transaction
    )
    writes.then(lambda: wake_relay(settings))
    return answer


@router.post(
    "/api/neural/simulate",
    operation_id="neural_simulate",
    summary="What would happen",
    responses=problems(400, 401, 403, 404, 413, 415, 422),
)
async def simulate(body: SimulateRequest, world: CurrentWorld, connection: Reader) -> SimulateOut:
    """Decide as things stand and under other policies, prices or outages. Writes nothing."""
    return simulation.simulate(connection, world, body, utc_now())


@router.get(
    "/api/neural/decisions/{decision_id}",
    operation_id="neural_get_decision",
    summary="Get a decision",
    responses=problems(401, 403, 404, 422),
)
async def get_decision(
    decision_id: str,
    connection: Reader,
    with_replay: Annotated[
        bool, Query(alias="replay", description="Recompute it and say whether it is identical.")
    ] = False,
) -> DecisionDetail:
    """Return one decision whole: candidates, probabilities, outcome, feedback."""
    return service.get_decision(connection, decision_id, with_replay=with_replay)


@router.get(
    "/api/neural/history",
    operation_id="neural_history",
    summary="List decisions",
    response_model=DecisionPage,
    responses={
        200: {
            "description": "A page, or CSV with `Accept: text/csv`.",
            "content": {"text/csv": {}},
        },
        **problems(401, 403, 422),
    },
)
async def history(
    request: Request,
    connection: Reader,
    since: From = None,
    until: Until = None,
    level: LevelName | None = None,
    model: Narrow = None,
    policy: Narrow = None,
    task_type: Narrow = None,
    caller: Narrow = None,
    min_regret_usd: Annotated[
        float | None, Query(ge=0, allow_inf_nan=False, description="Explored at this cost.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DecisionPage | Response:
    """List decisions, newest first; as CSV the next page's cursor is in `x-next-cursor`."""
    refuse_empty_span(since, until)
    wanted = service.HistoryFilter(
        since, until, level, model, policy, task_type, caller, min_regret_usd
    )
    position = decode_cursor("decisions", cursor)
    items, more = service.history(connection, wanted, position, limit)
    following = encode_cursor("decisions", more)
    if request.state.media_type == "text/csv":
        headers = {"x-next-cursor": following} if following else {}
        return Response(as_csv(items), media_type="text/csv", headers=headers)
    return DecisionPage(items=items, next_cursor=following)


@router.get(
    "/api/neural/status",
    operation_id="neural_status",
    summary="What each level would do now",
    responses=problems(401, 403),
)
async def status(world: CurrentWorld, connection: Reader) -> NeuralStatus:
    """Return per level the leading model, its health, exploration, and the learner's age."""
    return service.status(connection, world, utc_now())


@router.get(
    "/api/neural/models",
    operation_id="neural_models",
    summary="Models with their estimates",
    responses=problems(401, 403),
)
async def list_models(world: CurrentWorld) -> NeuralModels:
    """Return the models that the router can choose, with estimates per level."""
    items = service.list_models(world, utc_now())
    return NeuralModels(items=items, next_cursor=None)


@router.get(
    "/api/neural/levels",
    operation_id="neural_levels",
    summary="The four levels",
    responses=problems(401, 403, 409),
)
async def list_levels(world: CurrentWorld, connection: Reader) -> LevelPage:
    """Return the levels, their objectives in dollars, and their share of traffic."""
    items = service.list_levels(connection, world, utc_now())
    return LevelPage(items=items, next_cursor=None)


@router.get(
    "/api/neural/allocation",
    operation_id="neural_allocation",
    summary="Traffic shares, planned and actual",
    responses=problems(401, 403, 422),
)
async def allocation(world: CurrentWorld, connection: Reader, since: From = None) -> AllocationPage:
    """Return the share of each level's traffic per model since `from` (default: 24 hours)."""
    now = utc_now()
    start: datetime = since or now - timedelta(hours=24)
    items = service.allocation(connection, world, start, now)
    return AllocationPage(items=items, next_cursor=None)
