"""/api/learning."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from functions.learning import batch, experiences, service
from functions.learning.convergence import convergence_of
from functions.learning.evaluation import evaluate
from functions.learning.metrics import Window, metrics_of
from shared.config import get_settings
from shared.decisions.process import get_world_cache
from shared.decisions.snapshot import World
from shared.events.wake import wake_relay
from shared.kit.clock import utc_now
from shared.schemas.learning import (
    Convergence,
    EvaluateRequest,
    EvaluationOut,
    Feedback,
    FeedbackBatch,
    FeedbackBatchOut,
    FeedbackCreate,
    LearningMetrics,
    Rebuild,
)
from shared.web.callers import CurrentCaller
from shared.web.pagination import Cursor, decode_cursor, encode_cursor
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader, Writes

router = APIRouter(tags=["learning"], route_class=Route)


async def _world() -> World:
    return get_world_cache().get()


CurrentWorld = Annotated[World, Depends(_world)]

# Well below API Gateway's 30 s.
_REBUILD_BUDGET_S = 20.0


@router.post(
    "/api/learning/feedback",
    operation_id="learning_record_feedback",
    summary="Judge an answer",
    status_code=201,
    responses={
        200: {"model": Feedback, "description": "This source had judged the same before."},
        **problems(400, 401, 403, 404, 409, 422),
    },
)
async def record_feedback(
    body: FeedbackCreate, caller: CurrentCaller, response: Response, writes: Writes
) -> Feedback:
    """Report how good an answer was; the router learns from it within seconds."""
    # Committed before the relay is woken, or it could run ahead of the event.
    with writes.transaction() as connection:
        stored, added = service.record_feedback(connection, body, caller.id, utc_now())
    if added:
        writes.then(lambda: wake_relay(get_settings()))
    else:
        response.status_code = 200
    return stored


@router.post(
    "/api/learning/feedback/batch",
    operation_id="learning_record_feedback_batch",
    summary="Judge up to 100 answers",
    responses=problems(400, 401, 403, 413, 415, 422),
)
async def record_feedback_batch(
    body: FeedbackBatch, caller: CurrentCaller, writes: Writes
) -> FeedbackBatchOut:
    """Report many judgements; a bad item gets its problem and does not fail the others."""
    with writes.transaction() as connection:
        answer = batch.record_all(connection, body, caller.id, utc_now())
    writes.then(lambda: wake_relay(get_settings()))
    return answer


@router.get(
    "/api/learning/replay",
    operation_id="learning_replay",
    summary="Experiences in order, as NDJSON",
    response_class=Response,
    responses={
        200: {
            "description": "One experience a line; `x-next-cursor` is what `cursor` takes next.",
            "content": {"application/x-ndjson": {}},
        },
        **problems(401, 403, 422),
    },
)
async def replay(
    connection: Reader,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Lines a page.")] = 500,
    cursor: Cursor = None,
) -> Response:
    """Return context, action probabilities, action, propensity and reward of judged decisions."""
    position = decode_cursor("experiences", cursor) or 0
    found, more = experiences.experiences_after(connection, position, limit)
    following = encode_cursor("experiences", more)
    headers = {"x-next-cursor": following} if following else {}
    return Response(
        experiences.as_ndjson(found), media_type="application/x-ndjson", headers=headers
    )


@router.post(
    "/api/learning/rebuild",
    operation_id="learning_rebuild",
    summary="Fold the log again and compare",
    responses=problems(401, 403),
)
async def rebuild(connection: Reader) -> Rebuild:
    """Fold the whole log from zero and say whether the live state is identical. Writes nothing."""
    return experiences.rebuild(connection, _REBUILD_BUDGET_S)


@router.get(
    "/api/learning/metrics",
    operation_id="learning_metrics",
    summary="Reward, regret, exploration",
    responses=problems(401, 403, 422),
)
async def metrics(
    connection: Reader, window: Annotated[Window, Query(description="Ends now.")] = "24h"
) -> LearningMetrics:
    """Return how serving and learning fared, in all and per level."""
    return metrics_of(connection, window, utc_now())


@router.post(
    "/api/learning/evaluate",
    operation_id="learning_evaluate",
    summary="What another policy would have earned",
    responses=problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def evaluate_target(
    body: EvaluateRequest, world: CurrentWorld, connection: Reader
) -> EvaluationOut:
    """Judge a policy, a draft or a fixed model on logged decisions. Writes nothing."""
    return evaluate(connection, world, body, utc_now())


@router.get(
    "/api/learning/convergence",
    operation_id="learning_convergence",
    summary="Is the best model known?",
    responses=problems(401, 403),
)
async def convergence(connection: Reader) -> Convergence:
    """Return per level the leader, how certain it is, and since when it is settled."""
    return convergence_of(connection, utc_now())
