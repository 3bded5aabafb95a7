"""One request, one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends

from shared.db.engine import get_engine, single_statement, transaction


async def _transaction() -> AsyncIterator[sa.Connection]:
    with transaction(get_engine()) as connection:
        yield connection


async def _reader() -> AsyncIterator[sa.Connection]:
    with single_statement(get_engine()) as connection:
        yield connection


# Function scope: the commit happens before the answer is sent, so an acknowledged write is durable
# and a failed commit is an error, not a success that was taken back.
Transaction = Annotated[sa.Connection, Depends(_transaction, scope="function")]
"""A write: commits when the route returns, rolls back when it raises."""

Reader = Annotated[sa.Connection, Depends(_reader, scope="function")]
"""Reads: every statement sees the newest committed state."""
