"""Daily partitions of the log, by the day in the decision's UUIDv7."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy as sa

from shared.db.tables import PARTITIONED
from shared.kit.ids import floor_at

DAYS_AHEAD = 7


def partition_statements(table: sa.Table, first: date, days: int) -> dict[str, list[str]]:
    """Return, by partition, the DDL that gives ``table`` one partition per day from ``first``.

    Rows that came to the default partition while a day had none are moved, as PostgreSQL refuses
    a partition whose rows lie elsewhere.
    """
    name = table.name
    (key,) = (column.name for column in table.primary_key if column.name in {"id", "decision_id"})
    statements = {}
    for offset in range(days):
        day = first + timedelta(days=offset)
        start, end = (floor_at(datetime.combine(d, time(), UTC)) for d in (day, day + timedelta(1)))
        partition = f"{name}_p{day:%Y%m%d}"
        statements[partition] = [
            f"CREATE TABLE {partition} (LIKE {name} INCLUDING ALL)",
            f"WITH moved AS (DELETE FROM {name}_default "  # noqa: S608  # names and ids are ours
            f"WHERE {key} >= '{start}' AND {key} < '{end}' RETURNING *) "
            f"INSERT INTO {partition} SELECT * FROM moved",
            f"ALTER TABLE {name} ATTACH PARTITION {partition} "
            f"FOR VALUES FROM ('{start}') TO ('{end}')",
        ]
    return statements


def ensure_partitions(connection: sa.Connection, today: date) -> None:
    """Create the partitions from yesterday to a week ahead; safe to repeat.

    A default partition catches what lies outside, so a missed run loses nothing.
    """
    existing = set(
        connection.scalars(
            sa.text(
                "SELECT inhrelid::regclass::text FROM pg_inherits "
                "WHERE inhparent = ANY(:parents ::regclass[])"
            ),
            {"parents": [table.name for table in PARTITIONED]},
        )
    )
    yesterday = today - timedelta(days=1)
    for table in PARTITIONED:
        for partition, statements in partition_statements(table, yesterday, DAYS_AHEAD + 2).items():
            # Asking first avoids the parent's exclusive lock on the ordinary, empty-handed run.
            if partition not in existing:
                for statement in statements:
                    connection.exec_driver_sql(statement)
