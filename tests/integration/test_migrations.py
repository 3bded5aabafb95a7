"""The migrations build exactly the tables that the code declares."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from infra.local.migrate import upgrade
from shared.db.partitions import ensure_partitions
from shared.db.tables import metadata
from shared.kit.clock import utc_now


def test_migrated_schema_equals_declared_tables(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_object": lambda _o, name, kind, *_: (
                    not (kind == "table" and ("_p2" in name or name.endswith("_default")))
                ),
            },
        )
        assert compare_metadata(context, metadata) == []


def test_upgrade_and_partitions_are_safe_to_repeat(engine: sa.Engine, database_url: str) -> None:
    upgrade(database_url)
    with engine.begin() as connection:
        ensure_partitions(connection, utc_now().date())
        names = set(sa.inspect(connection).get_table_names())
    assert f"decisions_p{utc_now():%Y%m%d}" in names
