"""/api/models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from functions.models import service
from shared.audit.acting import CurrentActor
from shared.schemas.models import Model, ModelCreate, ModelPage, ModelUpdate
from shared.web.etag import IfMatch, tagged
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader, Transaction

router = APIRouter(tags=["models"], route_class=Route)

# The id holds slashes (openai/gpt-4o-mini), so it takes the rest of the path.
ModelPath = Annotated[str, Path(max_length=128, examples=["openai/gpt-4o-mini"])]


@router.get(
    "/api/models",
    operation_id="models_list",
    summary="List models",
    responses=problems(401, 403, 422),
)
async def list_models(connection: Reader, limit: Limit = 50, cursor: Cursor = None) -> ModelPage:
    """List registered models by id."""
    items, more = service.list_page(connection, decode_cursor("models", cursor), limit)
    return ModelPage(items=items, next_cursor=encode_cursor("models", more))


@router.post(
    "/api/models",
    operation_id="models_create",
    summary="Register a model",
    status_code=201,
    responses=problems(400, 401, 403, 409, 422),
)
async def create_model(
    body: ModelCreate, response: Response, actor: CurrentActor, connection: Transaction
) -> Model:
    """Register a served model; the router may choose it within two seconds."""
    return tagged(response, service.register(connection, body, actor))


@router.get(
    "/api/models/{model_id:path}",
    operation_id="models_get",
    summary="Get a model",
    responses=problems(401, 403, 404, 422),
)
async def get_model(model_id: ModelPath, response: Response, connection: Reader) -> Model:
    """Return one model; the ETag is what a change must send back."""
    return tagged(response, service.get(connection, model_id))


@router.patch(
    "/api/models/{model_id:path}",
    operation_id="models_update",
    summary="Change a model",
    responses=problems(400, 401, 403, 404, 412, 422, 428),
)
async def update_model(
    model_id: ModelPath,
    body: ModelUpdate,
    response: Response,
    actor: CurrentActor,
    connection: Transaction,
    if_match: IfMatch = None,
) -> Model:
    """Change some members; a new price is added to the history."""
    return tagged(response, service.change(connection, model_id, body, if_match, actor))
