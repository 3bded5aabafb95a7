"""The relay: numbers what was committed, publishes what was numbered, remembers what was taken.

Crash-safe at every line: an event is numbered once, published at least once. Two relays at a
time are harmless: the sequence's row lock lets one number at a time, and SKIP LOCKED keeps them
from publishing the same rows.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shared.db.engine import transaction
from shared.db.rows import AnyRow
from shared.db.tables import event_sequence, outbox
from shared.events.bus import MAX_ENTRIES, Bus, Entry
from shared.kit.ids import EVENT, to_text

_NUMBER_BATCH = 5_000
_PUBLISH_BATCH = 200


def relay_once(engine: sa.Engine, bus: Bus, now: datetime) -> tuple[int, int]:
    """Number and publish what is waiting; return how many were numbered and published.

    Raises
    ------
    BusUnavailableError
        If the bus took nothing of a batch; numbered events wait for the next call.
    """
    with transaction(engine) as connection:
        numbered = number_committed(connection)
    published = 0
    while True:
        with transaction(engine) as connection:
            rows = _lock_unpublished(connection)
            taken = _publish(rows, bus)
            if taken:
                connection.execute(
                    sa.update(outbox).where(outbox.c.event_id.in_(taken)).values(published_at=now)
                )
        published += len(taken)
        if len(rows) < _PUBLISH_BATCH or len(taken) < len(rows):
            return numbered, published


def number_committed(connection: sa.Connection) -> int:
    """Give committed events their sequence and return how many.

    The next numbers go to rows that this transaction can see, under the sequence's lock, so a
    reader that has seen n has seen everything below n: later commits get higher numbers.
    """
    last: int = connection.execute(sa.select(event_sequence.c.value).with_for_update()).scalar_one()
    waiting = (
        sa.select(outbox.c.event_id)
        .where(outbox.c.sequence.is_(None))
        .order_by(outbox.c.event_id)
        .limit(_NUMBER_BATCH)
        .subquery()
    )
    place = sa.func.row_number().over(order_by=waiting.c.event_id)
    numbers = sa.select(waiting.c.event_id, (place + last).label("sequence")).subquery()
    done = connection.execute(
        sa.update(outbox)
        .where(outbox.c.event_id == numbers.c.event_id)
        .values(sequence=numbers.c.sequence)
    )
    if done.rowcount:
        connection.execute(sa.update(event_sequence).values(value=last + done.rowcount))
    return int(done.rowcount)


def _lock_unpublished(connection: sa.Connection) -> list[AnyRow]:
    return list(
        connection.execute(
            sa.select(outbox)
            .where(outbox.c.published_at.is_(None), outbox.c.sequence.is_not(None))
            .order_by(outbox.c.sequence)
            .limit(_PUBLISH_BATCH)
            .with_for_update(skip_locked=True)
        )
    )


def _publish(rows: list[AnyRow], bus: Bus) -> list[Any]:
    taken = []
    for start in range(0, len(rows), MAX_ENTRIES):
        batch = rows[start : start + MAX_ENTRIES]
        results = bus.put([_entry(row) for row in batch])
        taken += [row.event_id for row, was_taken in zip(batch, results, strict=True) if was_taken]
    return taken


def _entry(row: AnyRow) -> Entry:
    detail = {
        "event_id": to_text(EVENT, row.event_id),
        "sequence": row.sequence,
        "occurred_at": row.occurred_at.isoformat(),
        "version": row.version,
        "data": row.data,
    }
    return Entry(row.source, row.detail_type, json.dumps(detail), row.occurred_at.isoformat())
