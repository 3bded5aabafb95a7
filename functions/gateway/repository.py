"""Every SQL statement of the gateway domain; money: ``shared.spending``."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.prepared import Prepared
from shared.db.rows import AnyRow
from shared.db.tables import decisions, in_flight, models, outbox, outcomes
from shared.events.outbox import parameters_of


def _compose_outcome_write() -> sa.Insert:
    """Return one statement: the outcome, unless there is one, its event if it was written, and the
    end of the decision's flight.
    """
    row: dict[str, Any] = {
        column.name: sa.bindparam(f"row_{column.name}") for column in outcomes.columns
    }
    written = (
        insert(outcomes)
        .values(row)
        .on_conflict_do_nothing()
        .returning(outcomes.c.decision_id)
        .cte("written")
    )
    landed = (
        sa.delete(in_flight)
        .where(in_flight.c.decision_id == sa.bindparam("row_decision_id", type_=sa.Uuid))
        .cte("landed")
    )
    names = ["event_id", "source", "detail_type", "version", "occurred_at", "data"]
    event = [sa.bindparam(f"event_{name}", type_=outbox.c[name].type) for name in names]
    told = sa.select(*event).where(sa.exists(sa.select(written.c.decision_id)))
    return sa.insert(outbox).from_select(names, told).add_cte(landed)


_WRITE_OUTCOME = Prepared(_compose_outcome_write())


def record_outcome(
    connection: sa.Connection, outcome: dict[str, Any], event: dict[str, Any]
) -> bool:
    """Write an outcome and its event in one statement; False if the decision has one already."""
    return _WRITE_OUTCOME.execute(connection, parameters_of(outcome, event)) == 1


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
