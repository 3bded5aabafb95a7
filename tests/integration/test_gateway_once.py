"""Idempotency-Key under /v1: one call of a model, one decision, one bill."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.streaming import DONE, delta, finish, finish_connection, role
from tests.fakes.threads import at_once
from tests.fakes.upstream import FakeUpstream, answer, status, stream
from tests.integration.gateway import CHAT, STREAM, Books, MakeKey, Reader, events_of

KEY = {"idempotency-key": "order-7"}


@pytest.fixture
def client(make_key: MakeKey, registry: list[str]) -> LambdaClient:
    return make_key("chat", "read")


@pytest.fixture
def books(engine: sa.Engine, client: LambdaClient) -> Books:
    return Books(engine)


def both(upstream: FakeUpstream, behaviour: Any) -> None:
    upstream.behaviours = {"small": behaviour, "large": behaviour}


def test_the_same_request_again_gets_the_same_answer_and_calls_no_model(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    first = client.post("/v1/chat/completions", CHAT, headers=KEY)
    again = client.post("/v1/chat/completions", CHAT, headers=KEY)
    assert (again.status, again.json()) == (200, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-davinci-decision-id"] == first.headers["x-davinci-decision-id"]
    assert again.headers["x-davinci-cost-usd"] == first.headers["x-davinci-cost-usd"]
    assert len(upstream.requests) == 1 and len(books.rows(decisions)) == 1


@pytest.mark.parametrize(
    ("change", "headers"),
    [({"seed": 2}, {}), ({}, {"x-davinci-level": "L3"}), ({"stream": True}, {})],
)
def test_another_request_with_the_same_key_is_refused(
    client: LambdaClient, upstream: FakeUpstream, change: dict[str, Any], headers: dict[str, str]
) -> None:
    client.post("/v1/chat/completions", CHAT, headers=KEY)
    refused = client.post("/v1/chat/completions", {**CHAT, **change}, headers={**KEY, **headers})
    assert refused.status == 422
    assert refused.json()["error"]["code"] == "idempotency_key_reused"
    assert len(upstream.requests) == 1


def test_keys_are_the_callers_own(client: LambdaClient, make_key: MakeKey, books: Books) -> None:
    for caller in (client, make_key("chat")):
        assert caller.post("/v1/chat/completions", CHAT, headers=KEY).status == 200
    assert len(books.rows(decisions)) == 2


@pytest.mark.parametrize(
    "failure", [{"model": "no/such"}, {"max_tokens": 10_000_000}, {"temperature": 9}]
)
def test_what_failed_may_be_sent_again(
    client: LambdaClient, upstream: FakeUpstream, failure: dict[str, Any]
) -> None:
    both(upstream, status(503))
    assert client.post("/v1/chat/completions", {**CHAT, **failure}, headers=KEY).status >= 400
    upstream.reset()
    assert client.post("/v1/chat/completions", CHAT, headers=KEY).status == 200


def test_of_many_at_once_one_is_served(
    client: LambdaClient, upstream: FakeUpstream, books: Books, many_connections: None
) -> None:
    go, told, lock = threading.Event(), [0], threading.Lock()

    def wait(handler: Any, request: Any) -> None:
        go.wait(20)
        answer("4", prompt_tokens=1, completion_tokens=1)(handler, request)

    both(upstream, wait)

    def post(_index: int) -> int:
        code = client.post("/v1/chat/completions", CHAT, headers=KEY).status
        with lock:
            told[0] += code == 409
            if told[0] == 7:
                go.set()
        return code

    assert sorted(at_once(8, post)) == [200] + [409] * 7
    assert len(upstream.requests) == 1 and len(books.rows(decisions)) == 1
    assert client.post("/v1/chat/completions", CHAT, headers=KEY).status == 200
    assert len(upstream.requests) == 1


def test_a_stream_that_was_heard_to_its_end_is_not_made_again(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    first = client.post("/v1/chat/completions", STREAM, headers=KEY)
    assert events_of(first.body)[-1] == "[DONE]"
    again = client.post("/v1/chat/completions", STREAM, headers=KEY)
    assert again.status == 409
    assert first.headers["x-davinci-decision-id"] in again.json()["error"]["message"]
    assert again.headers["x-davinci-decision-id"] == first.headers["x-davinci-decision-id"]
    assert len(upstream.requests) == 1


def test_a_stream_that_broke_or_was_left_may_be_asked_for_again(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    both(upstream, stream(role(), delta("Two "), finish_connection))
    broken = client.post("/v1/chat/completions", STREAM, headers=KEY)
    assert "error" in events_of(broken.body)[-1]
    both(upstream, stream(role(), delta("Two "), delta("and "), finish(), DONE))
    Reader(str(client.token), leave_after=1).post("/v1/chat/completions", STREAM, **KEY)
    whole = client.post("/v1/chat/completions", STREAM, headers=KEY)
    assert whole.status == 200 and events_of(whole.body)[-1] == "[DONE]"
    assert len(books.rows(decisions)) == 3
    books.assert_closed()


def test_embeddings_take_a_key_too(
    client: LambdaClient, admin: LambdaClient, upstream: FakeUpstream
) -> None:
    body = {
        "id": "test/embed", "provider": "test", "base_url": upstream.url, "upstream_name": "embed",
        "context_tokens": 8_192, "modalities": ["embeddings"],
    }  # fmt: skip
    assert admin.post("/api/models", body).status == 201
    ask = {"model": "test/embed", "input": "a"}
    first = client.post("/v1/embeddings", ask, headers=KEY)
    again = client.post("/v1/embeddings", ask, headers=KEY)
    assert again.json() == first.json() and len(upstream.requests) == 1


def test_without_a_key_every_request_is_new(client: LambdaClient, upstream: FakeUpstream) -> None:
    for _ in range(2):
        assert client.post("/v1/chat/completions", CHAT).status == 200
    assert len(upstream.requests) == 2
