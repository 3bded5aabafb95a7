"""The database engine: SQLAlchemy Core on pg8000, built once per process.

Three measured traps are handled here: pg8000 reloads the CA file at each connect unless it is
given an SSL context; ``pool_pre_ping`` lets a TCP reset through as OSError; and any ``SET`` pins a
connection behind RDS Proxy, so no option that sends one is used (autocommit is flipped on the
driver's connection, which sends nothing).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.config import Settings, get_settings
from shared.db.sharing import seated, taken
from shared.errors import DatabaseUnavailableError, InvalidInputError
from shared.kit.waiting import elsewhere

# PostgreSQL's classes of "not now": connection, resources, operator intervention, system error.
_TRANSIENT_SQLSTATES = ("08", "53", "57", "58")
# What only the input can be at fault for: number or instant out of range, NUL in text, in JSON.
_UNSTORABLE_SQLSTATES = {"22003", "22008", "22021", "22P05"}


def create_engine(settings: Settings) -> sa.Engine:
    """Return an engine with one pool of ``database_connections`` connections."""
    context: ssl.SSLContext | bool = False
    if settings.database_ca_file:
        context = ssl.create_default_context(cafile=settings.database_ca_file)
    engine = sa.create_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_connections,
        max_overflow=0,
        pool_timeout=settings.database_timeout_s,
        pool_pre_ping=True,
        # The one used last: its server process has everything at hand.
        pool_use_lifo=True,
        pool_recycle=600,
        # A statement's parameters hold prompts and hashes; error messages end in logs.
        hide_parameters=True,
        connect_args={"ssl_context": context, "timeout": settings.database_timeout_s},
    )
    sa.event.listen(engine, "do_connect", _connect)
    _ping_sparingly(engine.dialect, settings.database_trusted_idle_s)
    return engine


def _connect(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> Any:
    from shared.db.driver import connect

    return elsewhere(lambda: connect(**parameters))


def _ping_sparingly(dialect: Any, trusted_idle_s: float) -> None:
    """Ping only a connection that was idle, and answer False on the OSError of a reset, which
    pg8000 does not wrap as a driver error.
    """
    ping = dialect.do_ping

    def do_ping(connection: Any) -> bool:
        if connection.is_fresh(trusted_idle_s):
            return True
        # Without autocommit the ping would open a transaction and leave it open.
        connection.autocommit = True
        try:
            return bool(ping(connection))
        except OSError:
            return False
        finally:
            connection.autocommit = False

    dialect.do_ping = do_ping


@lru_cache(maxsize=1)
def get_engine() -> sa.Engine:
    """Return the process's engine; nothing connects before the first use."""
    return create_engine(get_settings())


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction: commit at the end, roll back on any error.

    Raises
    ------
    DatabaseUnavailableError
        If the database cannot be reached, breaks off or has no room.
    """
    with (
        seated(engine), translated_errors(),
        taken(engine.connect, engine) as connection, connection.begin(),
    ):  # fmt: skip
        yield connection


@contextmanager
def single_statement(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a connection on which every statement is its own transaction: one round trip less
    at both ends. For hot paths whose whole write is one statement.
    """
    with seated(engine), translated_errors(), taken(engine.connect, engine) as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.autocommit = True
        try:
            yield connection
        finally:
            driver.autocommit = False


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn "the database is not there" into one error; leave programming errors alone."""
    try:
        yield
    except (
        InterfaceError,
        OperationalError,
        PoolTimeoutError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise DatabaseUnavailableError from error
    except DBAPIError as error:
        code = sqlstate(error)
        if error.connection_invalidated or code.startswith(_TRANSIENT_SQLSTATES):
            raise DatabaseUnavailableError from error
        if code in _UNSTORABLE_SQLSTATES:
            raise InvalidInputError(
                "A value cannot be stored: it holds a NUL character or is out of range."
            ) from error
        raise


def sqlstate(error: DBAPIError) -> str:
    """Return PostgreSQL's five-character code of a driver error, or an empty string."""
    details = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return str(details.get("C", "")) if isinstance(details, dict) else ""
