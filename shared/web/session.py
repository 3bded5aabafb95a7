"""One request, one transaction, and with an Idempotency-Key one effect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, cast

import sqlalchemy as sa
from fastapi import Depends, Header, Request

from shared.db.engine import get_engine, single_statement, transaction
from shared.web import idempotency
from shared.web.callers import Caller

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="1 to 255 printable ASCII characters, such as a UUID. A request that is sent "
        "again with the same key within 24 hours has no second effect: it gets the first one's "
        "answer, with `Idempotency-Replayed: true`."
    ),
]


class ReplayedError(Exception):
    """Ends a request whose effect is there already; ``shared.web.problems`` renders the answer."""

    def __init__(self, answer: idempotency.Replay) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Claim:
    """The open transaction of a request that came with a key, for ``shared.web.routing``."""

    connection: sa.Connection
    ticket: idempotency.Fresh


async def _transaction(
    request: Request, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[sa.Connection]:
    request_body = await _body_to_tell_apart(request, idempotency_key)
    with transaction(get_engine()) as connection:
        if idempotency_key is not None:
            _claim(request, connection, idempotency_key, request_body)
        yield connection


async def _reader() -> AsyncIterator[sa.Connection]:
    with single_statement(get_engine()) as connection:
        yield connection


@dataclass(slots=True)
class Effect:
    """Writing for routes that open their transactions themselves.

    Without an Idempotency-Key each block is its own; with one, all of them are the request's
    transaction, which holds the answer too and commits when the route has returned.
    """

    request: Request
    key: str | None
    request_body: bytes
    stack: ExitStack
    connection: sa.Connection | None = None
    afterwards: list[Callable[[], object]] = field(default_factory=list)

    def transaction(self) -> AbstractContextManager[sa.Connection]:
        """Return a block that writes in one transaction. Reads that need a connection of their own
        come before: a pool may hold only one.
        """
        return self._joined() or transaction(get_engine())

    def single_statement(self) -> AbstractContextManager[sa.Connection]:
        """Return a block that writes one statement."""
        return self._joined() or single_statement(get_engine())

    def then(self, call: Callable[[], object]) -> None:
        """Call this as soon as what was written is committed."""
        if self.connection is None:
            call()
        else:
            self.afterwards.append(call)

    def _joined(self) -> AbstractContextManager[sa.Connection] | None:
        if self.key is None:
            return None
        if self.connection is None:
            self.connection = self.stack.enter_context(transaction(get_engine()))
            _claim(self.request, self.connection, self.key, self.request_body)
        return nullcontext(self.connection)


async def _effect(
    request: Request, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[Effect]:
    request_body = await _body_to_tell_apart(request, idempotency_key)
    with ExitStack() as stack:
        effect = Effect(request, idempotency_key, request_body, stack)
        yield effect
    for call in effect.afterwards:
        call()


async def _body_to_tell_apart(request: Request, key: str | None) -> bytes:
    if key is None:
        return b""
    idempotency.check_key(key)
    return await request.body()


def _claim(request: Request, connection: sa.Connection, key: str, request_body: bytes) -> None:
    """Claim the key in the open transaction.

    Raises
    ------
    ReplayedError
        If the effect is there already.
    """
    caller = getattr(request.state, "caller", None)
    if caller is None:  # a public route: there is nobody whose key it could be
        return
    fingerprint = idempotency.fingerprint_of(
        request.method.encode(),
        request.url.path.encode(),
        request.scope["query_string"],
        request.headers.get("if-match", "").encode(),
        request_body,
    )
    claimed = idempotency.begin(
        connection, cast("Caller", caller).id, request.scope["route"].operation_id, key, fingerprint
    )
    if isinstance(claimed, idempotency.Replay):
        raise ReplayedError(claimed)
    request.state.claim = Claim(connection, claimed)


# Function scope: the commit happens before the answer is sent, so an acknowledged write is durable
# and a failed commit is an error, not a success that was taken back.
Transaction = Annotated[sa.Connection, Depends(_transaction, scope="function")]
"""A write: commits when the route returns, rolls back when it raises. Honours Idempotency-Key."""

Writes = Annotated[Effect, Depends(_effect, scope="function")]
"""Writes in transactions of the route's own making. Honours Idempotency-Key."""

Reader = Annotated[sa.Connection, Depends(_reader, scope="function")]
"""Reads: every statement sees the newest committed state."""
