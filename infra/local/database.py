"""The local cloud's own tables, in the schema ``localcloud`` beside the application's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

_CONNECTIONS = 4
_TABLES = (
    "CREATE SCHEMA IF NOT EXISTS localcloud",
    """
    CREATE TABLE IF NOT EXISTS localcloud.messages (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      queue text NOT NULL,
      message_id text NOT NULL,
      body text NOT NULL,
      attributes jsonb NOT NULL,
      sent_at timestamptz NOT NULL,
      visible_at timestamptz NOT NULL,
      first_received_at timestamptz,
      receive_count integer NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX IF NOT EXISTS messages_by_due ON localcloud.messages (queue, visible_at, id)",
    """
    CREATE TABLE IF NOT EXISTS localcloud.schedules (
      name text PRIMARY KEY,
      anchor_at timestamptz NOT NULL
    )
    """,
)


class Database:
    """Runs single statements in threads; each is a transaction of its own."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(
            url, isolation_level="AUTOCOMMIT", pool_size=_CONNECTIONS, max_overflow=0
        )
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="local-cloud-db")

    async def create_tables(self) -> None:
        for statement in _TABLES:
            await self.run(statement)

    async def run(self, sql: str, **parameters: Any) -> Sequence[sa.Row[Any]]:
        """Execute one statement and return its rows."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run, sql, parameters)

    def close(self) -> None:
        self._threads.shutdown()
        self._engine.dispose()

    def _run(self, sql: str, parameters: dict[str, Any]) -> Sequence[sa.Row[Any]]:
        with self._engine.connect() as connection:
            try:
                result = connection.execute(sa.text(sql), parameters)
                return result.all() if result.returns_rows else []
            except OSError:
                # pg8000 lets socket errors through, and SQLAlchemy would keep the connection.
                connection.invalidate()
                raise
