"""Alembic environment: online only, one transaction per migration, impatient with locks.

Called through ``infra.local.migrate.upgrade`` (``davinci migrate``), which hands the connection in
``config.attributes``; the ``alembic`` command itself reads DATABASE_URL.
"""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import context

from shared.db.tables import metadata


def _is_partition(name: str | None) -> bool:
    """Daily partitions are made by the partition keeper, not by migrations."""
    return name is not None and ("_p2" in name or name.endswith("_default"))


def _include(_obj: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    return not (kind == "table" and _is_partition(name))


def _run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=_include,
        transaction_per_migration=True,
        compare_type=True,
    )
    with context.begin_transaction():
        # A migration that must wait for a lock would queue every request behind it.
        connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(sa.text("SET LOCAL statement_timeout = '60s'"))
        context.run_migrations()


def main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        _run(given)
        return
    engine = sa.create_engine(os.environ["DATABASE_URL"], poolclass=sa.NullPool)
    with engine.connect() as connection:
        _run(connection)


main()
