"""/api/events."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from functions.events import service
from shared.errors import FieldError, InvalidInputError
from shared.schemas.events import EventPage, EventType
from shared.web.pagination import Cursor, Limit, decode_cursor, encode_cursor
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader

router = APIRouter(tags=["events"], route_class=Route)

_STREAM_LIMIT = 500
_SEQUENCE = re.compile(r"[0-9]{1,18}")
After = Annotated[int | None, Query(ge=0, le=2**62, description="Sequence to read after.")]
Types = Annotated[
    list[EventType] | None,
    Query(max_length=50, description="Only these types.", examples=[["feedback.recorded"]]),
]


@router.get(
    "/api/events",
    operation_id="events_list",
    summary="Read the event log",
    responses=problems(401, 403, 422),
)
async def list_events(
    connection: Reader,
    after: After = None,
    types: Types = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EventPage:
    """Return events in sequence order, after `after` or the cursor. Sequences are dense."""
    position = decode_cursor("events", cursor) or after or 0
    events, newest = service.read(connection, position, limit, types or ())
    more = encode_cursor("events", events[-1].sequence) if len(events) == limit else None
    return EventPage(items=events, next_cursor=more, last_sequence=newest)


@router.get(
    "/api/events/stream",
    operation_id="events_stream",
    summary="Follow the event log",
    response_class=Response,
    responses={
        200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}},
        **problems(401, 403, 422),
    },
)
async def stream(
    connection: Reader,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    after: After = None,
    types: Types = None,
) -> Response:
    """Send what is new since `Last-Event-ID` and how soon to ask again.

    Without a position it starts at the end of the log. The answer is short and complete, so it
    works where responses are buffered; `retry:` makes any EventSource come back.
    """
    if last_event_id is not None and not _SEQUENCE.fullmatch(last_event_id):
        raise InvalidInputError(
            "Last-Event-ID is the id of the last event that you have seen, a number.",
            errors=[FieldError("header:last-event-id", "not a sequence")],
        )
    position = int(last_event_id) if last_event_id is not None else after
    if position is None:
        _, position = service.read(connection, 0, 0, ())
    events, newest = service.read(connection, position, _STREAM_LIMIT, types or ())
    full = len(events) == _STREAM_LIMIT
    reached = events[-1].sequence if full else max(newest, position)
    body = service.as_server_sent_events(events, reached)
    return Response(body, media_type="text/event-stream")
