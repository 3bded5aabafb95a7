"""pg8000, told to say in one breath what it says in three.

pg8000 sends Parse, then Bind, then Execute, and waits for the server's answer to each; and it scans
every statement's text character by character, each time, for its parameters (0.2 ms for the write
of a decision). Here a statement is one message and one answer, and a text is scanned once. Nothing
else of the protocol changes: statements stay unnamed, so RDS Proxy pins nothing.
"""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from pg8000.converters import make_param
from pg8000.core import DATA_ROW, READY_FOR_QUERY, Context
from pg8000.dbapi import convert_paramstyle
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.legacy import Connection as Pg8000Connection
from pg8000.legacy import Cursor as Pg8000Cursor
from pg8000.legacy import IntegrityError, ProgrammingError

from shared.kit.waiting import is_shared, until_ready

# Execute the unnamed portal without a limit, Sync; the same after a Describe.
_EXECUTE_SYNC = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00S\x00\x00\x00\x04"
_DESCRIBE_EXECUTE_SYNC = b"D\x00\x00\x00\x06P\x00" + _EXECUTE_SYNC
_length = struct.Struct("!i").pack
_count = struct.Struct("!H").pack
_NULL = _length(-1)
_head_of = struct.Struct("!ci").unpack
_length_at = struct.Struct("!i").unpack_from
_COMPLETIONS = frozenset({b"1", b"2"})  # parsed, bound: nothing to learn from them


class Cursor(Pg8000Cursor):  # type: ignore[misc]  # pg8000 has no types
    """A cursor that remembers how a statement's text reads in PostgreSQL's own words."""

    def execute(self, operation: str, args: Any = (), stream: Any = None) -> Cursor:
        connection = self._c
        if not args or stream is not None or connection is None:
            super().execute(operation, args, stream)
            return self
        try:
            # As pg8000's own cursor asks it; the lock file pins pg8000.
            if not connection._in_transaction and not connection.autocommit:  # noqa: SLF001
                connection.execute_simple("begin transaction")
            self._context = connection.execute_unnamed(
                _in_dollars(operation), vals=args, oids=self._input_oids
            )
        except DatabaseError as error:
            raise _as_pg8000_names_it(error) from error
        self._row_iter = iter(self._context.rows or ())
        self._input_oids: tuple[int, ...] = ()
        self.input_types: list[Any] = []
        return self


class Connection(Pg8000Connection):  # type: ignore[misc]  # pg8000 has no types
    """A connection whose statements are one round trip."""

    # Wall clock, which goes on while a Lambda environment is frozen.
    _answered_at = 0.0

    def is_fresh(self, within_s: float) -> bool:
        """Return whether the server answered within ``within_s`` and has not hung up since.

        A server that closes or resets makes the socket readable, which costs no round trip to see.
        """
        if not 0 <= time.time() - self._answered_at < within_s:
            return False
        poll = select.poll()
        poll.register(self._usock, select.POLLIN)
        return not poll.poll(0)

    def cursor(self) -> Cursor:
        return Cursor(self)

    def close(self) -> None:
        # pg8000 leaves the file over its socket to the collector; where the server is gone and the
        # farewell cannot be written, that keeps the descriptor until who knows when.
        file = self._sock
        try:
            super().close()
        finally:
            if file is not None:
                with suppress(OSError, ValueError):
                    file.close()

    def execute_unnamed(
        self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None
    ) -> Any:
        if oids or stream is not None:
            return super().execute_unnamed(statement, vals, oids, stream)
        # Most values are text already, made so by SQLAlchemy.
        params = [
            value if value is None or type(value) is str else make_param(self.py_types, value)
            for value in vals
        ]
        context = Context(statement)
        self._exchange(context, params, _DESCRIBE_EXECUTE_SYNC)
        return context

    def call(
        self, operation: str, values: Sequence[str | None],
        on_sent: Callable[[], None] | None = None,
    ) -> tuple[str | None, ...]:  # fmt: skip
        """Execute a statement that returns one row, in a transaction of its own.

        Values go and come as text, so nobody describes their types. ``on_sent`` is called when the
        statement has left this process.

        Raises
        ------
        Error
            Of the class that a cursor raises.
        """
        context = Context(_in_dollars(operation), columns=())
        try:
            self._exchange(context, values, _EXECUTE_SYNC, on_sent)
        except DatabaseError as error:
            raise _as_pg8000_names_it(error) from error
        (row,) = context.rows
        return tuple(row)

    def handle_messages(self, context: Any) -> None:
        """Take the answer to one statement, as pg8000 does, for a third of its time."""
        if is_shared() and not until_ready(self._usock.fileno(), self._usock.gettimeout()):
            raise InterfaceError("network error") from TimeoutError()
        read, code = self._sock.read, b""
        try:
            while code != READY_FOR_QUERY:
                code, size = _head_of(read(5))
                body = read(size - 4)
                if code == DATA_ROW and context.columns == ():
                    context.rows.append(_texts_of(body, self._client_encoding))
                elif code not in _COMPLETIONS:
                    self.message_types[code](body, context)
        except (OSError, struct.error) as error:
            # It left, or said less than it had announced.
            raise InterfaceError("network error") from error
        self._answered_at = time.time()
        if context.error is not None:
            raise context.error

    def _exchange(
        self, context: Any, params: Sequence[str | None], then: bytes,
        on_sent: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        if self._sock is None:
            raise InterfaceError("connection is closed")
        message = self._parse_and_bind(context.statement, params) + then
        try:
            self._sock.write(message)
            self._sock.flush()
        except OSError as error:
            # SQLAlchemy knows a broken connection by these words of pg8000.
            raise InterfaceError("network error") from error
        if on_sent is not None:
            on_sent()
        self.handle_messages(context)

    def _parse_and_bind(self, statement: str, params: Sequence[str | None]) -> bytes:
        encoding = self._client_encoding
        parse = b"\x00" + statement.encode(encoding) + b"\x00\x00\x00"
        bind = bytearray(b"\x00\x00\x00\x00" + _count(len(params)))
        for value in params:
            if value is None:
                bind += _NULL
            else:
                encoded = value.encode(encoding)
                bind += _length(len(encoded))
                bind += encoded
        bind += b"\x00\x00"
        return b"".join((b"P", _length(len(parse) + 4), parse, b"B", _length(len(bind) + 4), bind))


def connect(**parameters: Any) -> Connection:
    """Open a connection; parameters as ``pg8000.dbapi.connect`` takes them."""
    return Connection(**parameters)


def _texts_of(row: bytes, encoding: str) -> list[str | None]:
    """Return a row's values as PostgreSQL writes them."""
    values: list[str | None] = []
    place = 2
    while place < len(row):
        (size,) = _length_at(row, place)
        place += 4
        if size < 0:
            values.append(None)
        else:
            values.append(row[place : place + size].decode(encoding))
            place += size
    return values


def _as_pg8000_names_it(error: DatabaseError) -> Any:
    """Return the error as pg8000's own cursor raises it; SQLAlchemy goes by its class."""
    fields = error.args[0]
    code = fields["C"] if isinstance(fields, dict) else ""
    if code == "28000":
        return InterfaceError(fields)
    return IntegrityError(fields) if code == "23505" else ProgrammingError(fields)


@lru_cache(maxsize=1_024)
def _in_dollars(operation: str) -> str:
    """Return the statement with $1, $2 ... for %s."""
    return str(convert_paramstyle("format", operation, ())[0])
