"""Transactional outbox: the event is a row of the transaction that it tells of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shared.db.tables import outbox
from shared.events.contracts import EventData
from shared.kit.ids import uuid7


def outbox_row(event: EventData, now: datetime) -> dict[str, Any]:
    """Return the outbox row of ``event``."""
    return {
        "event_id": uuid7(),
        "source": event.source,
        "detail_type": event.detail_type,
        "version": event.version,
        "occurred_at": now,
        "data": event.model_dump(mode="json"),
    }


def add_event(connection: sa.Connection, event: EventData, now: datetime) -> None:
    """Write ``event`` in the caller's transaction; it exists if and only if that commits."""
    connection.execute(sa.insert(outbox), [outbox_row(event, now)])
