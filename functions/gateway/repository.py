"""Every SQL statement of the gateway domain."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import models, outcomes
from shared.events.outbox import parameters_of, write_with_event

_WRITE = write_with_event(outcomes)


def record_outcome(
    connection: sa.Connection, outcome: dict[str, Any], event: dict[str, Any]
) -> None:
    """Write an outcome and its event in one statement."""
    connection.execute(_WRITE, parameters_of(outcome, event))


def list_models(connection: sa.Connection) -> list[AnyRow]:
    """Return the models that can be asked for."""
    return list(
        connection.execute(
            sa.select(models.c.id, models.c.provider, models.c.created_at)
            .where(models.c.enabled)
            .order_by(models.c.id)
        )
    )
