"""Advance a projection: fold the event log from its watermark, exactly once.

The watermark's row is locked for the fold, and moves in the same transaction as the read model: a
crash, a duplicate trigger or two workers at a time change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.engine import transaction
from shared.db.rows import AnyRow
from shared.db.tables import projections
from shared.events.log import list_after

BATCH = 2_000
Fold = Callable[[sa.Connection, Sequence[AnyRow], int], None]
"""``fold(connection, events, new_watermark)`` applies events in sequence order."""


def advance(engine: sa.Engine, name: str, fold: Fold, batch: int = BATCH) -> int:
    """Fold everything that is waiting and return how many events that was."""
    total = 0
    while True:
        with transaction(engine) as connection:
            done = _advance_once(connection, name, fold, batch)
        total += done
        if done < batch:
            return total


def _advance_once(connection: sa.Connection, name: str, fold: Fold, batch: int) -> int:
    connection.execute(insert(projections).values(name=name).on_conflict_do_nothing())
    mine = projections.c.name == name
    watermark = connection.scalar(sa.select(projections.c.watermark).where(mine).with_for_update())
    events = list_after(connection, int(watermark or 0), batch)
    if not events:
        return 0
    fold(connection, events, events[-1].sequence)
    connection.execute(
        sa.update(projections)
        .where(mine)
        .values(watermark=events[-1].sequence, updated_at=sa.func.clock_timestamp())
    )
    return len(events)
