"""Every SQL statement of the models domain."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.rows import AnyRow
from shared.db.tables import models, prices
from shared.decisions.snapshot import current_prices
from shared.kit.ids import uuid7


def _with_price() -> sa.Select[Any]:
    in_force = current_prices()
    return sa.select(
        models, in_force.c.input_usd_per_mtok, in_force.c.output_usd_per_mtok
    ).outerjoin(in_force, in_force.c.model_id == models.c.id)


def list_models(connection: sa.Connection, after: str, limit: int) -> list[AnyRow]:
    """Return models by id, after the given one."""
    query = _with_price().where(models.c.id > after).order_by(models.c.id).limit(limit)
    return list(connection.execute(query))


def find(connection: sa.Connection, model_id: str) -> AnyRow | None:
    return connection.execute(_with_price().where(models.c.id == model_id)).one_or_none()


def lock_revision(connection: sa.Connection, model_id: str) -> int | None:
    """Lock the model's row for a change and return its revision; None if there is none."""
    return connection.scalar(
        sa.select(models.c.revision).where(models.c.id == model_id).with_for_update()
    )


def add(connection: sa.Connection, values: dict[str, Any]) -> bool:
    """Add a model unless the id is taken; return whether it was added."""
    done = connection.execute(insert(models).values(**values).on_conflict_do_nothing())
    return done.rowcount == 1


def update(connection: sa.Connection, model_id: str, values: dict[str, Any]) -> None:
    connection.execute(
        sa.update(models)
        .where(models.c.id == model_id)
        .values(**values, revision=models.c.revision + 1, updated_at=sa.func.clock_timestamp())
    )


def add_price(
    connection: sa.Connection, model_id: str, input_usd: float | None, output_usd: float | None
) -> None:
    """Put a price in force; earlier ones stay as history."""
    connection.execute(
        sa.insert(prices).values(
            id=uuid7(),
            model_id=model_id,
            input_usd_per_mtok=input_usd,
            output_usd_per_mtok=output_usd,
        )
    )
