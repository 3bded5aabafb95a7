"""/api/audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from functions.auth import audit
from shared.audit.reader import AuditFilter
from shared.schemas.audit import AuditPage, AuditVerification
from shared.schemas.common import STORABLE, InstantParameter
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor, refuse_empty_span
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader

router = APIRouter(tags=["auth"], route_class=Route)

Narrow = Annotated[str | None, Query(max_length=256, pattern=STORABLE)]
Action = Annotated[
    str | None,
    Query(max_length=64, pattern=STORABLE, description="Exact, or a prefix such as `user.`"),
]
From = Annotated[InstantParameter | None, Query(alias="from", description="Inclusive.")]
Until = Annotated[InstantParameter | None, Query(alias="to", description="Exclusive.")]


@router.get(
    "/api/audit",
    operation_id="auth_list_audit",
    summary="List audit entries",
    responses=problems(401, 403, 422),
)
async def list_audit(
    connection: Reader,
    actor: Narrow = None,
    action: Action = None,
    resource: Narrow = None,
    since: From = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """List who changed what, newest first."""
    refuse_empty_span(since, until)
    wanted = AuditFilter(actor, action, resource, since, until)
    position = decode_cursor("audit", cursor)
    items, more = audit.list_page(connection, wanted, position, limit)
    return AuditPage(items=items, next_cursor=encode_cursor("audit", more))


@router.get(
    "/api/audit/verify",
    operation_id="auth_verify_audit",
    summary="Verify the audit log",
    responses=problems(401, 403, 422),
)
async def verify_audit(
    connection: Reader,
    anchor_seq: Annotated[
        int | None, Query(ge=0, le=2**53 - 1, description="`head_seq` of an earlier verification.")
    ] = None,
    anchor_hash: Annotated[
        str | None, Query(pattern="^[0-9a-f]{64}$", description="Its `head_hash`.")
    ] = None,
) -> AuditVerification:
    """Recompute the chain of hashes over the whole log.

    Finds altered, deleted, inserted and reordered entries and a cut end. Only with an anchor that
    was kept elsewhere it also finds a log that was rewritten as a whole.
    """
    return audit.verify(connection, anchor_seq, anchor_hash)
