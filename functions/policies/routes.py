"""/api/policies."""

from __future__ import annotations

from fastapi import APIRouter

from functions.policies import service
from shared.audit.acting import CurrentActor
from shared.schemas.policies import Policy, PolicyCreate, PolicyPage
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader, Transaction

router = APIRouter(tags=["policies"], route_class=Route)


@router.get(
    "/api/policies",
    operation_id="policies_list",
    summary="List policies",
    responses=problems(401, 403, 422),
)
async def list_policies(connection: Reader, limit: Limit = 50, cursor: Cursor = None) -> PolicyPage:
    """List policies with the document in force, newest first."""
    items, more = service.list_page(connection, decode_cursor("policies", cursor), limit)
    return PolicyPage(items=items, next_cursor=encode_cursor("policies", more))


@router.post(
    "/api/policies",
    operation_id="policies_create",
    summary="Create a policy",
    status_code=201,
    responses=problems(400, 401, 403, 409, 422),
)
async def create_policy(body: PolicyCreate, actor: CurrentActor, connection: Transaction) -> Policy:
    """Create a policy. It serves `policy:<name>` at once; the first one also serves `auto`."""
    return service.create(connection, body, actor)


@router.get(
    "/api/policies/{policy_id}",
    operation_id="policies_get",
    summary="Get a policy",
    responses=problems(401, 403, 404, 422),
)
async def get_policy(policy_id: str, connection: Reader) -> Policy:
    """Return a policy with the document in force."""
    return service.get(connection, policy_id)
