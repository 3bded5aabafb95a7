"""The event log as readers see it."""

from __future__ import annotations

import json
from collections.abc import Collection

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.events.contracts import PUBLIC_TYPES
from shared.events.log import last_sequence, list_after
from shared.kit.ids import EVENT, to_text
from shared.schemas.events import Event, EventType

RETRY_MS = 2_000


def read(
    connection: sa.Connection, after: int, limit: int, types: Collection[EventType]
) -> tuple[list[Event], int]:
    """Return events after sequence ``after`` and the newest sequence."""
    names = {public: name for name, public in PUBLIC_TYPES.items()}
    # The newest sequence is read first: rows that come later cannot make it look behind.
    newest = last_sequence(connection)
    rows = list_after(connection, after, limit, [names[name] for name in types])
    return [_event(row) for row in rows], newest


def as_server_sent_events(events: list[Event], position: int) -> str:
    """Return a text/event-stream body. ``id`` is what a reader sends back as Last-Event-ID; a
    closing comment moves the position over what the type filter left out.
    """
    blocks = [f"retry: {RETRY_MS}"]
    for event in events:
        data = json.dumps(event.model_dump(mode="json"), separators=(",", ":"))
        blocks.append(f"id: {event.sequence}\nevent: {event.type}\ndata: {data}")
    if not events or events[-1].sequence < position:
        blocks.append(f"id: {position}\nevent: position\ndata: {position}")
    return "\n\n".join(blocks) + "\n\n"


def _event(row: AnyRow) -> Event:
    return Event(
        event_id=to_text(EVENT, row.event_id),
        sequence=row.sequence,
        type=PUBLIC_TYPES[row.detail_type],
        version=row.version,
        occurred_at=row.occurred_at,
        data=row.data,
    )
