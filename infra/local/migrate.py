"""Bring a database to the current schema: ``davinci migrate``."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from shared.db.partitions import ensure_partitions
from shared.kit.clock import utc_now

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"


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
