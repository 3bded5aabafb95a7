"""/api/learning."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from functions.learning import service
from functions.learning.metrics import Window, metrics_of
from shared.config import get_settings
from shared.db.engine import get_engine, transaction
from shared.events.wake import wake_relay
from shared.kit.clock import utc_now
from shared.schemas.learning import Feedback, FeedbackCreate, LearningMetrics
from shared.web.callers import CurrentCaller
from shared.web.responses import problems
from shared.web.session import Reader

router = APIRouter(tags=["learning"])


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
    body: FeedbackCreate, caller: CurrentCaller, response: Response
) -> Feedback:
    """Report how good an answer was; the router learns from it within seconds."""
    # Committed before the relay is woken, or it could run ahead of the event.
    with transaction(get_engine()) as connection:
        stored, added = service.record_feedback(connection, body, caller.id, utc_now())
    if added:
        wake_relay(get_settings())
    else:
        response.status_code = 200
    return stored


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
