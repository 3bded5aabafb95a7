"""/v1: OpenAI's API."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import JSONResponse

from functions.gateway import repository, service
from functions.gateway.errors import BadModelError
from shared.config import get_settings
from shared.db.engine import get_engine
from shared.decisions.process import get_world_cache
from shared.errors import FieldError
from shared.events.wake import wake_relay
from shared.providers.chat import Answer, complete_chat, get_client
from shared.providers.upstream import Upstream
from shared.routing.types import LEVELS
from shared.schemas.gateway import ChatRequest, ListedModel, ModelList
from shared.web.callers import CurrentCaller
from shared.web.responses import openai_errors
from shared.web.session import Reader

router = APIRouter(tags=["gateway"])

_TASK = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HEADERS = {
    "x-davinci-decision-id": "The decision: GET /api/neural/decisions/{id}.",
    "x-davinci-model": "The model that answered.",
    "x-davinci-policy": "Policy name and version.",
    "x-davinci-level": "The request's level.",
    "x-davinci-cost-usd": "What it cost; absent when the price is unknown.",
}


@router.post(
    "/v1/chat/completions",
    operation_id="gateway_chat_completions",
    summary="Chat completion by the model that the policy chooses",
    responses={
        200: {
            "description": "OpenAI's chat completion object, as the provider answered.",
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in _HEADERS.items()
            },
        },
        **openai_errors(400, 401, 403, 404, 413, 415, 422, 502),
    },
)
async def chat_completions(
    body: ChatRequest,
    caller: CurrentCaller,
    task: Annotated[str | None, Header(alias="x-davinci-task", max_length=64)] = None,
    level: Annotated[str | None, Header(alias="x-davinci-level")] = None,
    session: Annotated[str | None, Header(alias="x-davinci-session", max_length=128)] = None,
) -> Response:
    """Answer like OpenAI's API, whoever serves it; `x-davinci-*` headers say who did and why."""
    settings = get_settings()
    said = body.metadata or {}
    hints = _hints(
        task or said.get("davinci_task"),
        level or said.get("davinci_level"),
        session or said.get("davinci_session"),
    )
    served = service.serve(
        get_engine(), get_world_cache(), settings, _complete, body, hints, caller.id, caller.labels
    )
    wake_relay(settings)
    decision = served.recorded
    headers = {
        "x-davinci-decision-id": decision.public_id,
        "x-davinci-model": served.model,
        "x-davinci-policy": f"{decision.policy.name}@{decision.policy.version}",
        "x-davinci-level": decision.decision.level,
    }
    if served.cost_usd is not None:
        headers["x-davinci-cost-usd"] = f"{served.cost_usd:.10f}"
    return JSONResponse(served.body, headers=headers)


@router.get(
    "/v1/models",
    operation_id="gateway_list_models",
    summary="Models in OpenAI's shape",
    responses=openai_errors(401, 403),
)
async def list_models(connection: Reader) -> ModelList:
    """List what `model` may name: `auto` and every registered model."""
    rows = repository.list_models(connection)
    automatic = [ListedModel(id="auto", object="model", created=0, owned_by="davinci")]
    registered = [
        ListedModel(
            id=row.id, object="model", created=int(row.created_at.timestamp()),
            owned_by=row.provider,
        )
        for row in rows
    ]  # fmt: skip
    return ModelList(object="list", data=automatic + registered)


def _complete(upstream: Upstream, payload: dict[str, Any], timeout_s: float) -> Answer:
    return complete_chat(get_client(), upstream, payload, timeout_s)


def _hints(task: str | None, level: str | None, session: str | None) -> service.Hints:
    if task is not None and not _TASK.fullmatch(task):
        raise BadModelError(
            "x-davinci-task takes a short slug such as code.review.",
            errors=[FieldError("header:x-davinci-task", "not a slug")],
        )
    named = next((name for name in LEVELS if name == level), None)
    if level is not None and named is None:
        raise BadModelError(
            f"x-davinci-level takes one of {', '.join(LEVELS)}.",
            errors=[FieldError("header:x-davinci-level", "unknown level")],
        )
    return service.Hints(task, named, session)
