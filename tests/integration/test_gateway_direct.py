"""The direct way of what is asked all the time: one round trip, and FastAPI's answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, in_flight, outbox, outcomes, rate_limits
from shared.web.boundary import Boundary
from shared.web.direct import Direct
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.threads import at_once
from tests.fakes.upstream import FakeUpstream, answer
from tests.integration.conftest import process_with
from tests.integration.gateway import CHAT, STREAM, Books, MakeKey
from tests.integration.test_rate_limits import limiter_broken

PATH = "/v1/chat/completions"
# The pool's sockets are left to the collector where a process starts over with other settings.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def remembering(environment: dict[str, str]) -> Iterator[None]:
    """A process that remembers credentials, so that nothing but the admission needs the database
    before the decision; and that has connections for several requests.
    """
    more = {"DAVINCI_CREDENTIAL_TTL_S": "30", "DAVINCI_DATABASE_CONNECTIONS": "8"}
    with process_with(more):
        yield


@pytest.fixture
def books(engine: sa.Engine, registry: list[str]) -> Books:
    return Books(engine)


@pytest.fixture
def client(remembering: None, make_key: MakeKey, books: Books) -> LambdaClient:
    """A client whose key the process knows."""
    client = make_key("chat", "read", rpm=60)
    assert client.get("/v1/models").status == 200
    return client


def charged(engine: sa.Engine) -> int:
    """Return how many units were taken from the key's bucket of 60 a minute."""
    with engine.connect() as connection:
        now = sa.func.extract("epoch", sa.func.clock_timestamp())
        backlog = connection.scalar(
            sa.select(sa.func.max(rate_limits.c.tat_ns / 1e9 - now)).where(
                rate_limits.c.id.like("default:key%")
            )
        )
    return round(float(backlog or 0) + 0.4)


def test_an_answer_in_one_piece_is_two_statements(
    client: LambdaClient, books: Books, said: list[str]
) -> None:
    assert client.post(PATH, CHAT).status == 200
    said.clear()
    served = client.post(PATH, {**CHAT, "model": "test/large"})
    assert served.status == 200 and served.headers["ratelimit"]
    ours = [text for text in said if "_decisions(" in text or "_outcomes(" in text]
    assert len(ours) == 2 and "admit_and_record_decisions" in ours[0]
    assert not [text for text in said if "FROM admit_request" in text]
    books.assert_closed()


def test_every_request_is_charged_once_whatever_becomes_of_it(
    client: LambdaClient, books: Books
) -> None:
    before = charged(books.engine)
    bodies: list[Any] = [
        CHAT, STREAM, {**CHAT, "model": "gpt-99"}, {**CHAT, "model": "auto:L9"},
        {"model": "auto"}, {**CHAT, "max_tokens": 0}, {**CHAT, "n": "2"},
    ]  # fmt: skip
    statuses = [client.post(PATH, body).status for body in bodies]
    statuses.append(client.post(PATH, CHAT, headers={"x-davinci-level": "L9"}).status)
    assert statuses == [200, 200, 404, 400, 400, 400, 400, 400]
    assert charged(books.engine) - before in {8, 7}, "less what a second has refilled"
    assert len(books.rows(decisions)) == 2
    books.assert_closed()


def test_a_key_that_may_not_chat_is_charged_and_told_so(
    remembering: None, make_key: MakeKey, books: Books
) -> None:
    client = make_key("read", rpm=60)
    assert client.get("/api/models").status == 200
    before = charged(books.engine)
    assert [client.post(PATH, CHAT).status for _ in range(5)] == [403] * 5
    assert charged(books.engine) - before in {4, 5}


def test_who_is_over_a_limit_is_told_that_first_and_nothing_is_written(
    remembering: None, make_key: MakeKey, books: Books, upstream: FakeUpstream
) -> None:
    client = make_key("chat", "read", rpm=3)
    assert [client.get("/v1/models").status for _ in range(3)] == [200] * 3
    for body in (CHAT, STREAM, {**CHAT, "model": "gpt-99"}, {"model": "auto"}):
        refused = client.post(PATH, body)
        assert refused.status == 429, refused.body
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) > 0
    assert upstream.requests == []
    assert all(books.rows(table) == [] for table in (decisions, outcomes, outbox, in_flight))


def test_of_many_at_once_exactly_the_limit_is_admitted_and_decided(
    remembering: None, make_key: MakeKey, books: Books, upstream: FakeUpstream
) -> None:
    client = make_key("chat", "read", rpm=6)
    assert client.get("/v1/models").status == 200
    statuses = at_once(16, lambda _: client.post(PATH, CHAT).status)
    served = statuses.count(200)
    assert served in {5, 6} and statuses.count(429) == 16 - served  # one may have been refilled
    assert len(books.rows(decisions)) == served == len(upstream.requests)
    books.assert_closed()


def test_without_the_limiter_nothing_is_written_and_nobody_is_called(
    client: LambdaClient, books: Books, upstream: FakeUpstream
) -> None:
    with limiter_broken(books.engine):
        refused = client.post(PATH, CHAT)
    assert refused.status == 503 and refused.headers["retry-after"] == "2"
    assert refused.json()["error"]["code"] == "limiter_unavailable"
    assert upstream.requests == [] and books.rows(decisions) == []
    assert client.post(PATH, CHAT).status == 200


def test_a_decision_that_cannot_be_written_is_charged_and_says_why(
    client: LambdaClient, books: Books, upstream: FakeUpstream
) -> None:
    before = charged(books.engine)
    faulty = client.post(PATH, CHAT, headers={"x-davinci-level": "L1"})
    assert faulty.status == 200
    with books.engine.begin() as connection:
        rule = "ALTER TABLE decisions ADD CONSTRAINT ck_nothing CHECK (level <> 'L2') NOT VALID"
        connection.execute(sa.text(rule))
    try:
        broken = client.post(PATH, CHAT, headers={"x-davinci-level": "L2"})
    finally:
        with books.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE decisions DROP CONSTRAINT ck_nothing"))
    assert broken.status == 500
    assert len(books.rows(decisions)) == len(upstream.requests) == 1
    assert charged(books.engine) - before in {1, 2}


def test_an_answer_whose_decision_is_gone_does_not_leave(
    client: LambdaClient, books: Books, upstream: FakeUpstream
) -> None:
    """As after a crash of the database that lost what it had not flushed."""
    called = threading.Event()

    def lose(handler: Any, request: Any) -> None:
        with books.engine.begin() as connection:
            for table in (in_flight, outbox, decisions):
                connection.execute(sa.delete(table))
        called.set()
        answer("4", prompt_tokens=1, completion_tokens=1)(handler, request)

    upstream.behaviours = {"small": lose, "large": lose}
    refused = client.post(PATH, CHAT)
    assert called.is_set() and refused.status == 503
    assert refused.json()["error"]["code"] == "database_unavailable"
    assert "4" not in refused.json()["error"]["message"]
    assert books.rows(outcomes) == [] and books.rows(outbox) == []


FAULTY: list[bytes] = [
    b"", b"{", b"null", b"[]", b'"x"', b"{}", b"\xff", b'{"model": "auto", "model": "auto"}',
    b"[" * 100, b'{"messages": 1, "model": ""}', b'{"model": "auto", "messages": []}',
    b'{"model": "auto", "messages": [{"role": "user", "content": NaN}]}',
    b'{"model": "auto", "messages": [{"content": 1}, {"role": 2}], "n": 0, "stream": "yes"}',
    json.dumps({**CHAT, "metadata": {"davinci_level": "L9"}}).encode(),
    json.dumps({**CHAT, "model": "nobody/nothing"}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("path", [PATH, "/v1/embeddings"])
@pytest.mark.parametrize("credential", ["a key", "a mistyped key", "none"])
def test_what_does_not_fit_is_answered_as_without_the_direct_way(
    client: LambdaClient, path: str, credential: str
) -> None:
    from functions.gateway.app import app

    headers = {"content-type": "application/json"}
    if credential != "none":
        suffix = "x" if credential == "a mistyped key" else ""
        headers["authorization"] = f"Bearer {client.token}{suffix}"

    def ask(application: Any, content: bytes) -> tuple[int, Any, set[str]]:
        async def post() -> httpx.Response:
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as own:
                return await own.post(path, content=content, headers=headers)

        got = asyncio.run(post())
        return got.status_code, got.json(), set(got.headers) - {"retry-after"}

    def without_direct() -> Any:
        inner: Any = app.build_middleware_stack()
        found = inner
        while not isinstance(found, Boundary):
            found = found.app
        assert isinstance(found.app, Direct)
        found.app = found.app._app
        return inner

    usual = without_direct()
    for content in FAULTY:
        told = ask(app, content)
        assert told == ask(usual, content), content
        assert told[0] >= 400
