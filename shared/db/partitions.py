"""Daily partitions of the log, by the day in the decision's UUIDv7."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy as sa

from shared.db.tables import PARTITIONED
from shared.kit.ids import floor_at

DAYS_AHEAD = 7


def partition_statements(table: str, first: date, days: int) -> list[str]:
    """Return idempotent DDL that gives ``table`` one partition per day from ``first``."""
    statements = []
    for offset in range(days):
        day = first + timedelta(days=offset)
        start, end = (floor_at(datetime.combine(d, time(), UTC)) for d in (day, day + timedelta(1)))
        statements.append(
            f"CREATE TABLE IF NOT EXISTS {table}_p{day:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{start}') TO ('{end}')"
        )
    return statements


def ensure_partitions(connection: sa.Connection, today: date) -> None:
    """Create the partitions from yesterday to a week ahead; safe to repeat.

    A default partition catches what lies outside, so a missed run loses nothing.
    """
    existing = set(
        connection.scalars(
            sa.text(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = ANY(:parents ::regclass[])"
            ),
            {"parents": [table.name for table in PARTITIONED]},
        )
    )
    for table in PARTITIONED:
        for statement in partition_statements(
            table.name, today - timedelta(days=1), DAYS_AHEAD + 2
        ):
            # Asking first avoids the parent's exclusive lock on the ordinary, empty-handed run.
            if statement.split()[5] not in existing:
                connection.exec_driver_sql(statement)
