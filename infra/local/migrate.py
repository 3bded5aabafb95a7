"""Bring a database to the current schema (``davinci migrate``), or draft the next migration."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from infra.local.postgres import EmbeddedPostgres
from shared.db.partitions import ensure_partitions
from shared.kit.clock import utc_now

CHECKOUT = Path(__file__).resolve().parents[2]
MIGRATIONS = CHECKOUT / "infra" / "migrations"


def upgrade(database_url: str, revision: str = "head") -> None:
    """Apply the migrations up to ``revision`` and create the coming days' partitions.

    Raises
    ------
    sqlalchemy.exc.DBAPIError
        If a lock or statement timeout is hit; what was applied before stays applied.
    """
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    config = Config()
    # Alembic's options are %-interpolated; a path may hold a percent sign.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    if revision == "head":
        with engine.begin() as connection:
            ensure_partitions(connection, utc_now().date())
    engine.dispose()


def draft(name: str) -> None:
    """Write the migration from the newest one to the declared tables, for a person to edit.

    Raises
    ------
    ValueError
        Without a name.
    """
    if not name:
        raise ValueError("name the migration: make migration name=add_budgets")
    config = Config(CHECKOUT / "alembic.ini", toml_file=CHECKOUT / "pyproject.toml")
    number = len(list((MIGRATIONS / "versions").glob("*.py"))) + 1
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "data", durable=False) as server,
    ):
        upgrade(server.url)
        engine = sa.create_engine(server.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.revision(config, name, autogenerate=True, rev_id=f"{number:04d}")
        engine.dispose()


if __name__ == "__main__":
    draft(" ".join(sys.argv[2:]))
