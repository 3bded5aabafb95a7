"""Decisions whose process died: each gets its outcome, and its money is settled.

What a dead process had called a model for nobody knows. So a request that held money of a budget
is charged what it held, the most it can have cost: a budget errs on the side of its limit. Without
a budget its cost is unknown, which is not 0.
"""

from __future__ import annotations

from typing import TypedDict

import sqlalchemy as sa

from functions.gateway import repository
from functions.gateway.outcomes import LOST, Decided, Ending, outcome_entry
from shared.db.engine import transaction
from shared.db.rows import AnyRow
from shared.kit.clock import utc_now
from shared.spending.budgets import find_reservation, release_undecided, settle

_BATCH = 100
_MOST_BATCHES = 20


class Swept(TypedDict):
    """What a sweep did: outcomes written, holds given back."""

    lost: int
    released: int


def sweep(engine: sa.Engine) -> Swept:
    """End what is overdue; several sweeps at once share the work. Bounded: the rest waits for the
    next run.
    """
    lost = released = 0
    for _ in range(_MOST_BATCHES):
        with transaction(engine) as connection:
            overdue = repository.list_overdue(connection, _BATCH)
            lost += sum(_end(connection, row) for row in overdue)
            given_back = release_undecided(connection, _BATCH)
            released += given_back
        if len(overdue) < _BATCH and given_back < _BATCH:
            break
    return {"lost": lost, "released": released}


def _end(connection: sa.Connection, row: AnyRow) -> bool:
    held = find_reservation(connection, row.id)
    story = [
        {
            "model": row.model, "error_class": LOST, "status": None, "latency_ms": 0.0,
            "measured_ms": None, "usage": None,
        }
    ]  # fmt: skip
    ending = Ending(story, error_class=LOST, cost_nusd=held)
    decided = Decided(row.id, row.level, row.model, str(row.policy_version_id), row.track)
    entry = outcome_entry(decided, ending, utc_now())
    (written,) = repository.outcomes_call([entry]).within(connection)
    settle(connection, row.id, None)
    return str(row.id) in str(written)
