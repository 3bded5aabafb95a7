"""Idempotency-Key for requests that call a model.

Calling a model is no transaction, so the key is claimed before and the answer kept after it. What
failed frees the key: the same request may be sent again. The answer of a stream is not kept; once
it was heard to the end, the same request is answered by 409 with the decision's id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from functions.gateway.door import Visit
from shared.db.engine import single_statement
from shared.errors import DatabaseUnavailableError
from shared.observability.logging import get_logger
from shared.web import idempotency
from shared.web.callers import Caller
from shared.web.session import ReplayedError

_SLACK_S = 30.0


@dataclass(slots=True)
class Once:
    """A request's claim on its key; without a key nothing here does anything."""

    engine: sa.Engine
    ticket: idempotency.Fresh | None = None

    @classmethod
    async def claim(cls, request: Request, caller: Caller, key: str | None, visit: Visit) -> Once:
        """Claim the key.

        Raises
        ------
        ReplayedError
            If an equal request was answered before.
        DomainError
            If one is being served, or the key came with another request.
        """
        engine = visit.door.engine
        if key is None:
            return cls(engine)
        steering = sorted(
            (name, value)
            for name, value in request.headers.items()
            if name.startswith("x-davinci-")
        )
        fingerprint = idempotency.fingerprint_of(
            request.method.encode(),
            request.url.path.encode(),
            repr(steering).encode(),
            await request.body(),
        )
        operation: str = request.scope["route"].operation_id
        with single_statement(engine) as connection:
            claimed = idempotency.begin(
                connection, caller.id, operation, key, fingerprint,
                hold_s=visit.longest_s + _SLACK_S,
            )  # fmt: skip
        if isinstance(claimed, idempotency.Replay):
            raise ReplayedError(claimed)
        return cls(engine, claimed)

    @contextmanager
    def freed_on_error(self) -> Iterator[None]:
        """Free the key if the block raises."""
        try:
            yield
        except BaseException:
            self._free()
            raise

    def keep(self, answer: Response) -> None:
        """Keep what was answered. If it cannot be, the answer stands all the same."""
        if self.ticket is None:
            return
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in answer.raw_headers]
        try:
            with single_statement(self.engine) as connection:
                idempotency.finish(
                    connection, self.ticket, answer.status_code, headers, bytes(answer.body)
                )
        except DatabaseUnavailableError:
            get_logger().warning("an answer could not be kept for its Idempotency-Key")

    def end_stream(self, is_whole: bool, headers: Mapping[str, str]) -> None:
        """Spend the key of a stream that was heard to its end; free that of any other."""
        if self.ticket is None:
            return
        if not is_whole:
            self._free()
            return
        decision = headers["x-davinci-decision-id"]
        error = {
            "message": f"This stream was served already, as {decision}; streams are not kept.",
            "type": "invalid_request_error",
            "param": None,
            "code": "stream_already_served",
        }
        self.keep(JSONResponse({"error": error}, 409, dict(headers)))

    def _free(self) -> None:
        if self.ticket is None:
            return
        try:
            with single_statement(self.engine) as connection:
                idempotency.abandon(connection, self.ticket)
        except DatabaseUnavailableError:
            # It frees itself when its hold is over.
            get_logger().warning("an Idempotency-Key could not be freed")
