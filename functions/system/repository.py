"""Every SQL statement of the system domain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import event_sequence, models, outbox, policies, projections, rollups


@dataclass(frozen=True, slots=True)
class Backlog:
    """Something that waits to be processed."""

    name: str
    depth: int
    oldest_at: datetime | None


def ping(connection: sa.Connection) -> None:
    connection.execute(sa.select(1))


def outbox_backlog(connection: sa.Connection) -> Backlog:
    """Return the events that no bus has taken yet."""
    row = connection.execute(
        sa.select(sa.func.count(), sa.func.min(outbox.c.occurred_at)).where(
            outbox.c.published_at.is_(None)
        )
    ).one()
    return Backlog("outbox", row[0], row[1])


def projection_backlogs(connection: sa.Connection) -> list[Backlog]:
    """Return, per projection, the events that it has not folded yet."""
    last = sa.select(event_sequence.c.value).scalar_subquery()
    rows = connection.execute(
        sa.select(
            projections.c.name,
            (last - projections.c.watermark).label("depth"),
            sa.select(outbox.c.occurred_at)
            .where(outbox.c.sequence == projections.c.watermark + 1)
            .scalar_subquery()
            .label("oldest_at"),
        ).order_by(projections.c.name)
    )
    return [Backlog(f"projection:{row.name}", int(row.depth), row.oldest_at) for row in rows]


def served_since(connection: sa.Connection, since: datetime) -> list[AnyRow]:
    """Return decisions, successes and failures per level since ``since``."""
    r = rollups.c
    return list(
        connection.execute(
            sa.select(
                r.level,
                _total(r.decisions).label("decisions"),
                _total(r.successes).label("successes"),
                _total(r.failures).label("failures"),
            )
            .where(r.grain == "1h", r.bucket_at >= since)
            .group_by(r.level)
        )
    )


def models_by_status(connection: sa.Connection) -> dict[str, int]:
    rows = connection.execute(sa.select(models.c.status, sa.func.count()).group_by(models.c.status))
    return {status: int(count) for status, count in rows}


def default_policy(connection: sa.Connection) -> AnyRow | None:
    return connection.execute(
        sa.select(policies.c.name, policies.c.active_version).where(policies.c.is_default)
    ).one_or_none()


def totals(connection: sa.Connection) -> list[AnyRow]:
    """Return all-time totals per level and model."""
    r = rollups.c
    sums = [
        _total(column).label(column.name)
        for column in (
            r.decisions, r.explored, r.successes, r.failures, r.tokens_in, r.tokens_out, r.rewards,
        )
    ]  # fmt: skip
    return list(
        connection.execute(
            sa.select(
                r.level, r.model, *sums,
                sa.func.sum(r.cost_usd).label("cost_usd"),
                sa.func.sum(r.reward_sum_usd).label("reward_sum_usd"),
            )
            .where(r.grain == "1h")
            .group_by(r.level, r.model)
            .order_by(r.level, r.model)
        )
    )  # fmt: skip


def _total(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    # sum(bigint) is numeric in PostgreSQL; our counts stay integers.
    return sa.cast(sa.func.sum(column), sa.BigInteger)
