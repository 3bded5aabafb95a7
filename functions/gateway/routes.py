"""/v1: OpenAI's API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from functions.gateway import repository
from functions.gateway.answering import EVENT_STREAM, EventStream, OpenAIRoute
from functions.gateway.asking import chat_ask, embeddings_ask
from functions.gateway.chat import Served, serve_chat
from functions.gateway.door import Door, Payer, Visit
from functions.gateway.embeddings import embeddings_model, serve_embeddings
from functions.gateway.errors import ModelNotFoundError
from functions.gateway.once import Once
from functions.gateway.steering import HEADERS, read_hints
from functions.gateway.streaming import open_chat
from functions.gateway.targets import parse_target
from shared.config import Settings, get_settings
from shared.db.engine import get_engine
from shared.decisions.process import get_world_cache
from shared.errors import FieldError
from shared.events.wake import wake_relay
from shared.providers.breaker import get_breakers
from shared.providers.client import get_client
from shared.schemas.gateway import ChatRequest, EmbeddingsRequest, ListedModel, ModelList
from shared.spending.budgets import Budget
from shared.spending.money import to_nusd
from shared.web.callers import Caller, CurrentCaller
from shared.web.responses import openai_errors
from shared.web.session import IdempotencyKey, Reader

router = APIRouter(tags=["gateway"], route_class=OpenAIRoute)

_AUTOMATIC = ListedModel(id="auto", object="model", created=0, owned_by="davinci")
_ANSWERED_HEADERS = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "x-davinci-decision-id": "The decision: GET /api/neural/decisions/{id}.",
        "x-davinci-model": "The model that answered.",
        "x-davinci-policy": "Policy name and version.",
        "x-davinci-level": "The request's level.",
        "x-davinci-cost-usd": "What it cost; absent of a stream, and when the price is unknown.",
        "Server-Timing": "Where the time went: auth, decide, db, upstream, total.",
    }.items()
}
_ERRORS = openai_errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 504)
_STEERED: dict[str, Any] = {
    "parameters": [
        {"name": n, "in": "header", "required": False, "description": text,
         "schema": {"type": "string"}}
        for n, text in HEADERS.items()
    ]
}  # fmt: skip


@router.post(
    "/v1/chat/completions",
    operation_id="gateway_chat_completions",
    summary="Chat completion by the model that the policy chooses",
    responses={
        200: {
            "description": "OpenAI's chat completion object, as the provider answered; with "
            "`stream` its chunks as server-sent events.",
            "headers": _ANSWERED_HEADERS,
            "content": {EVENT_STREAM: {}},
        },
        **_ERRORS,
    },
    openapi_extra=_STEERED,
)
async def chat_completions(
    body: ChatRequest,
    request: Request,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Answer like OpenAI's API, whoever serves it; `x-davinci-*` headers say who did and why."""
    settings = get_settings()
    door, hints = _door(settings), read_hints(request.headers, body.metadata)
    world = door.cache.get()
    # As it was sent, not as it was checked: the provider gets what it knows and we do not.
    ask = chat_ask(
        await request.json(), parse_target(body.model, world), hints, len(await request.body())
    )
    visit = _visit(door, request, caller, settings, is_streamed=ask.is_streamed())
    once = await Once.claim(request, caller, idempotency_key, visit)
    with once.freed_on_error():
        if not ask.is_streamed():
            return _answered(serve_chat(visit, ask, world), visit, once)
        relay = open_chat(visit, ask, world)

    def end() -> None:
        relay.close()
        once.end_stream(relay.is_whole, relay.headers)
        wake_relay(settings)

    # While this waits for the provider, only the host hears that the client has left.
    request.state.interrupt = relay.interrupt
    return EventStream(relay.events(), relay.headers, end)


@router.post(
    "/v1/embeddings",
    operation_id="gateway_embeddings",
    summary="Embeddings by a registered model",
    responses={
        200: {
            "description": "OpenAI's list of embeddings, as the provider answered.",
            "headers": _ANSWERED_HEADERS,
        },
        **_ERRORS,
    },
    openapi_extra=_STEERED,
)
async def embeddings(
    body: EmbeddingsRequest,
    request: Request,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Pass through to one model for embeddings, with a decision, an outcome and a cost.

    Vectors of two models cannot be compared: nothing falls back, and `auto` is an error where
    several models are registered for embeddings.
    """
    settings = get_settings()
    door, hints = _door(settings), read_hints(request.headers, body.metadata)
    world = door.cache.get()
    model = embeddings_model(body.model, world)
    ask = embeddings_ask(await request.json(), model, hints, len(await request.body()))
    visit = _visit(door, request, caller, settings, is_streamed=False)
    once = await Once.claim(request, caller, idempotency_key, visit)
    with once.freed_on_error():
        return _answered(serve_embeddings(visit, ask, world), visit, once)


@router.get(
    "/v1/models",
    operation_id="gateway_list_models",
    summary="Models in OpenAI's shape",
    responses=openai_errors(401, 403, 429),
)
async def list_models(connection: Reader) -> ModelList:
    """List what `model` may name: `auto` and every registered model."""
    rows = repository.list_models(connection)
    return ModelList(object="list", data=[_AUTOMATIC, *(_listed(row) for row in rows)])


@router.get(
    "/v1/models/{model_id:path}",
    operation_id="gateway_get_model",
    summary="One model in OpenAI's shape",
    responses=openai_errors(401, 403, 404, 429),
)
async def get_model(
    model_id: Annotated[str, Path(max_length=160)], connection: Reader
) -> ListedModel:
    """Return one of the models that `model` may name."""
    if model_id == _AUTOMATIC.id:
        return _AUTOMATIC
    row = repository.find_model(connection, model_id)
    if row is None:
        raise ModelNotFoundError(
            f"There is no model {model_id!r}; GET /v1/models lists them.",
            errors=[FieldError("#/model", "not found")],
        )
    return _listed(row)


def _answered(served: Served, visit: Visit, once: Once) -> Response:
    answer = JSONResponse(served.body, headers=served.headers)
    with visit.timing.measure("db"):
        served.until_written()
    once.keep(answer)
    wake_relay(visit.door.settings)
    return answer


def _door(settings: Settings) -> Door:
    return Door(get_engine(), get_world_cache(), settings, get_client(), get_breakers())


def _visit(
    door: Door, request: Request, caller: Caller, settings: Settings, *, is_streamed: bool
) -> Visit:
    # Mangum collects a stream before it answers: API Gateway's 30 s are all there is.
    is_held_open = is_streamed and "aws.event" not in request.scope
    longest_s = (
        settings.upstream_stream_timeout_s if is_held_open else settings.upstream_total_timeout_s
    )
    budget = None
    if caller.budget_usd is not None and caller.budget_window is not None:
        budget = Budget(caller.id, caller.budget_window, to_nusd(caller.budget_usd))
    payer = Payer(caller.id, caller.labels, caller.tpm, budget)
    return Visit(door, payer, request.state.timing, request.state.admission, longest_s)


def _listed(row: Any) -> ListedModel:
    return ListedModel(
        id=row.id, object="model", created=int(row.created_at.timestamp()), owned_by=row.provider
    )
