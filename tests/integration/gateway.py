"""What the gateway's tests have in common: streams read and left, and the books."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from shared.db.tables import decisions, in_flight, outbox, outcomes, reservations, spend
from shared.web.threaded import Threaded
from tests.fakes.lambda_client import LambdaClient

MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]
CHAT = {"model": "auto", "messages": MESSAGES}
STREAM = {**CHAT, "stream": True}

MakeKey = Callable[..., LambdaClient]


def outcome_of(client: LambdaClient, served: Any) -> dict[str, Any]:
    """Return the outcome of the decision that an answer names."""
    path = f"/api/neural/decisions/{served.headers['x-davinci-decision-id']}"
    outcome: dict[str, Any] = client.get(path).json()["outcome"]
    return outcome


def events_of(body: str) -> list[Any]:
    """Return the documents of server-sent events; ``[DONE]`` as itself."""
    assert body.endswith("\n\n"), body
    found: list[Any] = []
    for event in body.removesuffix("\n\n").split("\n\n"):
        data = event.removeprefix("data: ")
        found.append(data if data == "[DONE]" else json.loads(data))
    return found


def text_of(events: list[Any]) -> str:
    """Return what a stream's chunks add up to."""
    choices = [c for e in events if isinstance(e, dict) for c in e.get("choices", ())]
    return "".join(choice.get("delta", {}).get("content") or "" for choice in choices)


@dataclass
class Books:
    """The database's view of what was decided, served and spent."""

    engine: sa.Engine

    def rows(self, table: sa.Table) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(table)))

    def outcome(self) -> Any:
        """Return the one outcome that there is."""
        (outcome,) = self.rows(outcomes)
        return outcome

    def assert_closed(self) -> None:
        """Every decision has one outcome and both have one event; nothing is held or in flight."""
        decided = {row.id for row in self.rows(decisions)}
        assert {row.decision_id for row in self.rows(outcomes)} == decided
        told = [(row.detail_type, row.data["decision_id"]) for row in self.rows(outbox)]
        kinds = ("NeuralRouteCompleted", "OutcomeRecorded")
        expected = {(kind, f"dec_{i.hex}") for i in decided for kind in kinds}
        assert len(told) == len(expected) and set(told) == expected
        assert self.rows(in_flight) == [] and self.rows(reservations) == []
        spent = sum(round((row.cost_usd or 0) * 1e9) for row in self.rows(outcomes))
        held = self.rows(spend)
        assert sum(row.reserved_nusd for row in held) == 0
        assert not held or sum(row.settled_nusd for row in held) == spent


@dataclass
class Reader:
    """A client on a connection of its own, without a server: it reads what it likes, then leaves.

    ``leave_after``: body messages that are taken before the connection is gone (None: all).
    """

    token: str
    leave_after: int | None = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    on_piece: Callable[[bytes], None] = lambda _piece: None

    def post(self, path: str, body: Any, **headers: str) -> Reader:
        """Read in the application's own thread, as on Lambda."""
        from functions.gateway.app import app

        scope, content = self._request(path, body, headers)
        waiting = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Any:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        asyncio.run(app(scope, receive, self._send))
        return self

    def post_and_hang_up(self, path: str, body: Any) -> Reader:
        """Read through a server with threads; hang up after the first piece, however long the
        application waits for the next one.
        """
        from functions.gateway.app import app

        scope, content = self._request(path, body, {})
        waiting = [{"type": "http.request", "body": content, "more_body": False}]
        threaded = Threaded(app, threads=1)

        async def serve() -> None:
            heard = asyncio.Event()

            async def receive() -> Any:
                if waiting:
                    return waiting.pop(0)
                await heard.wait()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                await self._send(message)
                if self.pieces:
                    heard.set()

            await threaded(scope, receive, send)

        try:
            asyncio.run(serve())
        finally:
            threaded.close()
        return self

    def _request(self, path: str, body: Any, headers: dict[str, str]) -> tuple[Any, bytes]:
        content = json.dumps(body).encode()
        sent = {
            "authorization": f"Bearer {self.token}", "content-type": "application/json",
            "content-length": str(len(content)), **headers,
        }  # fmt: skip
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "POST",
            "http_version": "1.1", "scheme": "http", "path": path, "raw_path": path.encode(),
            "query_string": b"", "root_path": "", "client": ("203.0.113.7", 1), "state": {},
            "server": ("localhost", 80),
            "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
        }  # fmt: skip
        return scope, content

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        elif message.get("body"):
            if self.leave_after is not None and len(self.pieces) >= self.leave_after:
                raise OSError("the client has left")
            self.pieces.append(message["body"])
            self.on_piece(message["body"])

    @property
    def body(self) -> str:
        return b"".join(self.pieces).decode()
