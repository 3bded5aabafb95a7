"""Metadata with a naming convention, so that migrations can name every constraint."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def instant(name: str, *, nullable: bool = False, default_now: bool = False) -> sa.Column[Any]:
    """Return a timestamptz column; ``default_now`` uses the database's clock."""
    default = sa.text("clock_timestamp()") if default_now else None
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=nullable, server_default=default)


def document(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[Any]:
    """Return a JSONB column; Python None is stored as SQL NULL."""
    server_default = sa.text(f"'{default}'::jsonb") if default is not None else None
    return sa.Column(
        name, JSONB(none_as_null=True), nullable=nullable, server_default=server_default
    )
