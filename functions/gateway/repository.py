"""Every SQL statement of the gateway domain; money: ``shared.spending``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from shared.db.calls import Call, as_json
from shared.db.rows import AnyRow
from shared.db.tables import decisions, in_flight, models

# A function of the database (migration 0006).
_RECORD_OUTCOMES = "SELECT record_outcomes(CAST(%s AS jsonb))::text"


def outcome_entry(outcome: dict[str, Any], event: dict[str, Any]) -> str:
    """Return an outcome and its event as ``outcomes_call`` takes them."""
    return as_json({"outcome": outcome, "event": event})


def outcomes_call(entries: Sequence[str]) -> Call:
    """Return the call that writes outcomes and their events and ends their decisions' flights.

    Its row is the array of the decisions whose outcome was written: those that had none. It fails
    if the database has lost one of the decisions.
    """
    return Call(_RECORD_OUTCOMES, ("[" + ",".join(entries) + "]",))


def list_overdue(connection: sa.Connection, most: int) -> list[AnyRow]:
    """Return decisions whose outcome is overdue, oldest first, locked against another sweep."""
    overdue = (
        sa.select(in_flight.c.decision_id)
        .where(in_flight.c.outcome_due_at < sa.func.clock_timestamp())
        .order_by(in_flight.c.outcome_due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.scalars(overdue))
    c = decisions.c
    return list(
        connection.execute(
            sa.select(c.id, c.level, c.model, c.policy_version_id, c.track).where(c.id.in_(ids))
        )
    )


def list_models(connection: sa.Connection) -> list[AnyRow]:
    """Return the models that can be asked for."""
    return list(
        connection.execute(
            sa.select(models.c.id, models.c.provider, models.c.created_at)
            .where(models.c.enabled)
            .order_by(models.c.id)
        )
    )


def find_model(connection: sa.Connection, model: str) -> AnyRow | None:
    """Return one of them, or None."""
    return connection.execute(
        sa.select(models.c.id, models.c.provider, models.c.created_at).where(
            models.c.id == model, models.c.enabled
        )
    ).one_or_none()
