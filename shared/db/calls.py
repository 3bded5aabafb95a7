"""Functions of the database that the hot path calls: text in, one row of text out.

What SQLAlchemy does around a statement (its cache, its parameters, its result) costs more than the
driver where a request's whole write is one call. So a call is text and values; the function in the
database does the rest, with plans that stay in the session.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import PydanticSerializationError, to_json
from sqlalchemy.exc import DBAPIError

from shared.db.engine import translated_errors
from shared.db.sharing import give_back, lent, seated

Row = tuple[str | None, ...]


class Call(NamedTuple):
    """A statement with ``%s`` for each of ``values``; it returns one row of columns of text."""

    statement: str
    values: Row

    def within(self, connection: sa.Connection) -> Row:
        """Make the call on ``connection``, in its transaction if it has one; return the row."""
        return tuple(connection.exec_driver_sql(self.statement, self.values).one())

    def alone(self, engine: sa.Engine, on_sent: Callable[[], None] | None = None) -> Row:
        """Make the call as a transaction of its own, in one round trip; return the row.

        ``on_sent`` is called when it has left this process, before the database has answered.

        Raises
        ------
        DatabaseUnavailableError
            If the database cannot be reached, breaks off or has no room.
        sqlalchemy.exc.DBAPIError
            If the statement fails.
        """
        with seated(engine), translated_errors():
            pooled = _lent(engine)
            try:
                row: Row = pooled.driver_connection.call(self.statement, self.values, on_sent)
            except Exception as error:
                wrapped = _as_sqlalchemy_says(engine, error)
                if wrapped.connection_invalidated:
                    pooled.invalidate(error)
                raise wrapped from error
            except BaseException as error:
                # Half an answer may be on its way: the next one would read it as its own.
                pooled.invalidate(error)
                raise
            finally:
                give_back(engine, pooled)
        return row


def _plain(value: object) -> str:
    if isinstance(value, UUID | datetime):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no value of a column")


def as_json(value: Any) -> str:
    """Return rows as JSON that ``jsonb_populate_record`` reads: ids and instants become text."""
    try:
        return to_json(value).decode()
    except PydanticSerializationError:
        # Half a surrogate pair, which the database refuses in its own words; or our own mistake.
        return _ENCODE(value)


_ENCODE = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


def _lent(engine: sa.Engine) -> Any:
    try:
        return lent(engine)
    except engine.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_says(engine, error) from error


def _as_sqlalchemy_says(engine: sa.Engine, error: Exception) -> Any:
    dialect = engine.dialect
    is_lost = isinstance(error, dialect.loaded_dbapi.Error) and dialect.is_disconnect(
        error, None, None
    )
    return DBAPIError.instance(
        None, None, error, dialect.loaded_dbapi.Error, hide_parameters=True,
        connection_invalidated=is_lost, dialect=dialect,
    )  # fmt: skip
