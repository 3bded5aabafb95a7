"""Reading the event log by sequence: dense, gap-free, in one order for every reader."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import event_sequence, outbox


def last_sequence(connection: sa.Connection) -> int:
    """Return the newest sequence given out; 0 before the first event."""
    return int(connection.scalar(sa.select(event_sequence.c.value)) or 0)


def list_after(
    connection: sa.Connection, after: int, limit: int, detail_types: Collection[str] = ()
) -> list[AnyRow]:
    """Return up to ``limit`` events with a sequence above ``after``, in order."""
    query = (
        sa.select(
            outbox.c.event_id, outbox.c.sequence, outbox.c.detail_type, outbox.c.version,
            outbox.c.occurred_at, outbox.c.data,
        )
        .where(outbox.c.sequence > after)
        .order_by(outbox.c.sequence)
        .limit(limit)
    )  # fmt: skip
    if detail_types:
        query = query.where(outbox.c.detail_type.in_(detail_types))
    return list(connection.execute(query))
