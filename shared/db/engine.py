"""The database engine: SQLAlchemy Core on pg8000, built once per process.

Three measured traps are handled here: pg8000 reloads the CA file at each connect unless it is
given an SSL context; ``pool_pre_ping`` lets a TCP reset through as OSError; and any ``SET`` pins a
connection behind RDS Proxy, so no option that sends one is used (autocommit is flipped on the
driver's connection, which sends nothing).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.config import Settings, get_settings
from shared.errors import DatabaseUnavailableError, InvalidInputError
from shared.kit.waiting import Seats, elsewhere, is_shared

Taken = TypeVar("Taken")

# How long a connection may stay out of the pool, which looks after its age, and how long it may
# have been idle there.
_OUT_OF_POOL_S, _KEPT_IDLE_S = 60.0, 1.0

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


def taken(take: Callable[[], Taken], engine: sa.Engine) -> Taken:
    """Return what ``take`` takes from the engine's pool. Where that must wait for one, or make one,
    it would hold up everybody who shares this thread, those included who would give one back: the
    first connection is made under a lock of SQLAlchemy's.
    """
    if is_shared():
        lender(engine).put_back_one()
        if not _pool_of(engine).checkedin():
            return elsewhere(take)
    return take()


def _pool_of(engine: sa.Engine) -> sa.QueuePool:
    return cast("sa.QueuePool", engine.pool)


class Lender:
    """Lends connections for single calls. Those of requests that share a thread stay out of the
    pool between calls, as the pool's work for a connection costs as much as the call.

    Fewer are kept than such requests have seats: threads find their half of the pool, and one more
    for what is read in between. Who needs one for longer puts a kept one back first (``taken``).
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._kept: list[tuple[sa.PoolProxiedConnection, float]] = []
        self._most = max(0, _pool_of(engine).size() // 2 - 1)
        sa.event.listen(engine, "engine_disposed", self._forget)

    def lend(self) -> tuple[sa.PoolProxiedConnection, float]:
        """Return a connection that works, and since when it is out of the pool.

        Raises
        ------
        sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError
            If there is none to be had.
        """
        while self._kept and is_shared():
            pooled, since = self._kept.pop()
            driver: Any = pooled.driver_connection
            if time.monotonic() - since < _OUT_OF_POOL_S and driver.is_fresh(_KEPT_IDLE_S):
                return pooled, since
            pooled.close()
        return taken(self._engine.raw_connection, self._engine), time.monotonic()

    def take_back(self, pooled: sa.PoolProxiedConnection, since: float) -> None:
        """Keep a connection for the next call, or put it back into the pool."""
        if is_shared() and pooled.is_valid and len(self._kept) < self._most:
            self._kept.append((pooled, since))
        else:
            pooled.close()

    def put_back_one(self) -> None:
        """Put a kept connection back into the pool, if there is one."""
        if self._kept:
            self._kept.pop()[0].close()

    def _forget(self, _engine: sa.Engine) -> None:
        while self._kept:
            self._kept.pop()[0].invalidate()


@lru_cache(maxsize=1)
def lender(engine: sa.Engine) -> Lender:
    """Return the engine's lender."""
    return Lender(engine)


def seated(engine: sa.Engine) -> AbstractContextManager[None]:
    """Wait for a turn at the database. Requests that share a thread have half of the pool's
    connections.
    """
    return _seats_at(engine) if is_shared() else nullcontext()


@lru_cache(maxsize=1)
def _seats_at(engine: sa.Engine) -> Seats:
    return Seats(max(1, _pool_of(engine).size() // 2))


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
