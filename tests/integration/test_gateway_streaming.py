"""Answers as they are generated: first byte, fallback before it, truth after it, and an end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import breakers, outbox
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.streaming import (
    DONE,
    GARBAGE,
    chunk,
    delta,
    finish,
    finish_connection,
    in_band_error,
    reset_connection,
    role,
    until,
)
from tests.fakes.upstream import FakeUpstream, answer, hang, hang_up, status, stream
from tests.integration.conftest import process_with
from tests.integration.gateway import (
    STREAM,
    Books,
    MakeKey,
    Reader,
    events_of,
    outcome_of,
    text_of,
)

WORDS = [delta("Two "), delta("and "), delta("two.")]
WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}


@pytest.fixture
def client(make_key: MakeKey, registry: list[str]) -> LambdaClient:
    return make_key("chat", "read")


@pytest.fixture
def books(engine: sa.Engine, client: LambdaClient) -> Books:
    return Books(engine)


def both(upstream: FakeUpstream, behaviour: Any) -> None:
    upstream.behaviours = {"small": behaviour, "large": behaviour}


def only_the_chosen_fails(upstream: FakeUpstream, failure: Any) -> None:
    """Let the model that is called first fail, and the other one serve."""
    good = answer("From the fallback.", prompt_tokens=1, completion_tokens=1)

    def behave(handler: Any, request: Any) -> None:
        is_chosen = request["model"] == upstream.requests[0]["model"]
        (failure if is_chosen else good)(handler, request)

    both(upstream, behave)


def test_a_stream_says_what_the_provider_says_and_ends(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    both(upstream, answer("Two and two.", prompt_tokens=7, completion_tokens=3))
    served = client.post("/v1/chat/completions", STREAM)
    assert served.status == 200
    assert served.headers["content-type"].startswith("text/event-stream")
    events = events_of(served.body)
    assert events[-1] == "[DONE]" and text_of(events) == "Two and two."
    assert [e.get("usage") for e in events[:-1]] == [None] * (len(events) - 1)
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    outcome = outcome_of(client, served)
    assert (outcome["tokens_in"], outcome["tokens_out"]) == (7, 3)
    assert outcome["status"] == "success" and outcome["attempts"][-1]["usage"] == "provider"
    books.assert_closed()


def test_who_answers_is_known_before_the_first_byte_and_what_it_cost_after_the_last(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    both(upstream, answer("Four.", prompt_tokens=10, completion_tokens=20))
    served = client.post("/v1/chat/completions", {**WITH_USAGE, "model": "test/large"})
    assert served.headers["x-davinci-model"] == "test/large"
    assert served.headers["x-davinci-policy"] and served.headers["x-davinci-level"]
    assert "upstream;dur=" in served.headers["server-timing"]
    assert "x-davinci-cost-usd" not in served.headers
    *_, last, done = events_of(served.body)
    assert done == "[DONE]" and last["choices"] == []
    assert last["usage"]["completion_tokens"] == 20
    assert last["x_davinci"] == {
        "decision_id": served.headers["x-davinci-decision-id"], "model": "test/large",
        "cost_usd": 30 * 2.0 / 1e6, "usage": "provider",
    }  # fmt: skip


def test_who_asks_for_usage_gets_an_estimate_from_a_provider_that_has_none(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    both(upstream, stream(role(), *WORDS, finish(), DONE))
    served = client.post("/v1/chat/completions", WITH_USAGE)
    *_, last, _done = events_of(served.body)
    assert last["id"] == "chatcmpl-1" and last["object"] == "chat.completion.chunk"
    assert last["usage"]["completion_tokens"] == 3 and last["x_davinci"]["usage"] == "estimated"
    outcome = outcome_of(client, served)
    assert outcome["tokens_out"] == 3 and outcome["attempts"][-1]["usage"] == "missing"


def test_usage_that_came_with_content_is_not_said_twice(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    counted = chunk(
        {"delta": {"content": "4"}, "finish_reason": "stop"}, text="4",
        usage={"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8},
    )  # fmt: skip
    both(upstream, stream(role(), counted, DONE))
    events = events_of(client.post("/v1/chat/completions", WITH_USAGE).body)
    assert [e["usage"] for e in events[:-1] if e.get("usage")] == [
        {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    ]


def test_calls_of_tools_stream_through_and_count(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    call = {"index": 0, "id": "c1", "type": "function",
            "function": {"name": "f", "arguments": '{"city": "Seoul, Korea"}'}}  # fmt: skip
    both(
        upstream,
        stream(role(), chunk({"delta": {"tool_calls": [call]}}), finish("tool_calls"), DONE),
    )
    served = client.post("/v1/chat/completions", STREAM)
    events = events_of(served.body)
    assert any(e["choices"][0]["delta"].get("tool_calls") == [call] for e in events[:-1])
    assert outcome_of(client, served)["tokens_out"] > 3


def test_the_first_byte_is_passed_on_while_the_model_still_thinks(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    heard = threading.Event()
    both(upstream, stream(role(), delta("first"), until(heard), delta(" last"), finish(), DONE))
    reader = Reader(str(client.token))
    # The model goes on only when the client has heard its first word.
    reader.on_piece = lambda piece: heard.set() if b"first" in piece else None
    reader.post("/v1/chat/completions", STREAM)
    assert heard.is_set() and text_of(events_of(reader.body)) == "first last"
    books.assert_closed()


@pytest.mark.parametrize(
    "failure",
    [status(500), status(503), hang_up, stream(), stream(role()), stream(GARBAGE), stream(DONE),
     stream(in_band_error(500, "overloaded")), stream(role(), reset_connection)],
)  # fmt: skip
def test_before_the_first_content_another_model_takes_over(
    client: LambdaClient, upstream: FakeUpstream, books: Books, failure: Any
) -> None:
    only_the_chosen_fails(upstream, failure)
    served = client.post("/v1/chat/completions", STREAM)
    events = events_of(served.body)
    assert text_of(events) == "From the fallback." and events[-1] == "[DONE]"
    assert served.headers["x-davinci-model"] != f"test/{upstream.requests[0]['model']}"
    tries = outcome_of(client, served)["attempts"]
    assert tries[0]["error_class"] is not None and tries[-1]["error_class"] is None
    books.assert_closed()


def test_when_no_model_begins_the_answer_is_an_ordinary_error(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    both(upstream, status(503))
    failed = client.post("/v1/chat/completions", STREAM)
    assert failed.status == 502 and failed.json()["error"]["code"] == "upstream_failed"
    assert failed.headers["content-type"] == "application/json"
    assert outcome_of(client, failed)["error_class"] == "upstream-5xx"
    books.assert_closed()


@pytest.mark.parametrize(
    ("ends", "error_class", "code"),
    [
        ([finish_connection], "cut", "upstream_failed"),
        ([reset_connection], "cut", "upstream_failed"),
        ([GARBAGE], "malformed", "upstream_failed"),
        ([in_band_error(500, "overloaded")], "upstream-5xx", "upstream_failed"),
        ([in_band_error(429, "slow down", "rate_limit_error")], "rate-limited",
         "rate_limit_exceeded"),
        ([], "cut", "upstream_failed"),
    ],
)  # fmt: skip
def test_after_the_first_content_a_failure_is_said_and_never_looks_like_an_end(
    client: LambdaClient, upstream: FakeUpstream, books: Books, ends: list[Any],
    error_class: str, code: str,
) -> None:  # fmt: skip
    both(upstream, stream(role(), *WORDS[:2], *ends))
    served = client.post("/v1/chat/completions", {**WITH_USAGE, "model": "test/large"})
    assert served.status == 200
    events = events_of(served.body)
    assert text_of(events) == "Two and "
    assert "[DONE]" not in events and events[-1]["error"]["code"] == code
    assert len(upstream.requests) == 1
    outcome = outcome_of(client, served)
    assert (outcome["status"], outcome["error_class"]) == ("error", error_class)
    assert outcome["model"] == "test/large" and outcome["tokens_out"] == 2
    assert outcome["cost_usd"] > 0
    books.assert_closed()


def test_a_model_that_falls_silent_is_a_timeout_in_the_stream(
    make_key: MakeKey, registry: list[str], upstream: FakeUpstream, books: Books
) -> None:
    both(upstream, stream(role(), *WORDS, until(threading.Event())))
    client = make_key("chat", "read")
    with process_with({"DAVINCI_UPSTREAM_IDLE_TIMEOUT_S": "0.3"}):
        served = client.post("/v1/chat/completions", STREAM)
    events = events_of(served.body)
    assert events[-1]["error"]["code"] == "upstream_timeout" and "[DONE]" not in events
    assert outcome_of(client, served)["error_class"] == "idle-timeout"
    assert upstream.accounts[0].is_left or upstream.requests


def test_a_model_that_never_begins_is_left_for_the_next(
    make_key: MakeKey, registry: list[str], upstream: FakeUpstream, books: Books
) -> None:
    only_the_chosen_fails(upstream, hang)
    client = make_key("chat", "read")
    with process_with({"DAVINCI_UPSTREAM_FIRST_BYTE_TIMEOUT_S": "0.3"}):
        served = client.post("/v1/chat/completions", STREAM)
    assert text_of(events_of(served.body)) == "From the fallback."
    tries = outcome_of(client, served)["attempts"]
    assert [t["error_class"] for t in tries] == ["first-byte-timeout", None]
    books.assert_closed()


@pytest.mark.parametrize("heard", [0, 1, 2])
def test_a_client_that_leaves_stops_the_model_and_pays_for_what_came(
    client: LambdaClient, upstream: FakeUpstream, books: Books, heard: int
) -> None:
    never = threading.Event()
    both(upstream, stream(role(), *WORDS, until(never), finish(), DONE))
    Reader(str(client.token), leave_after=heard).post("/v1/chat/completions", STREAM)
    outcome = books.outcome()
    assert (outcome.status, outcome.error_class) == ("error", "client-closed")
    assert outcome.tokens_out >= 1 and outcome.cost_usd > 0
    books.assert_closed()
    # Nobody's failure: the learner hears of no failed model.
    (event,) = [e for e in books.rows(outbox) if e.detail_type == "OutcomeRecorded"]
    assert event.data["failed"] == []
    wait_until_left(upstream)


def test_a_silent_model_is_left_as_soon_as_the_client_has_gone(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    both(upstream, stream(role(), *WORDS, until(threading.Event())))
    started_at = time.monotonic()
    Reader(str(client.token)).post_and_hang_up("/v1/chat/completions", STREAM)
    assert time.monotonic() - started_at < 10, "the model's silence is cut after 15 s only"
    assert books.outcome().error_class == "client-closed"
    assert books.rows(breakers) == [], "that was no failure of the model"
    books.assert_closed()
    wait_until_left(upstream)


def test_a_client_that_leaves_after_usage_came_pays_the_providers_count(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    counted = chunk(
        {"delta": {"content": "4"}}, text="4",
        usage={"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100},
    )  # fmt: skip
    both(upstream, stream(role(), counted, until(threading.Event())))
    Reader(str(client.token), leave_after=1).post("/v1/chat/completions", STREAM)
    outcome = books.outcome()
    assert (outcome.tokens_in, outcome.tokens_out) == (70, 30)


def test_the_callers_options_reach_the_provider_and_usage_is_always_asked_for(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    body = {**STREAM, "stream_options": {"include_obfuscation": False}, "seed": 7}
    events = events_of(client.post("/v1/chat/completions", body).body)
    sent = upstream.requests[0]
    assert sent["seed"] == 7
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert all(not e.get("usage") for e in events if isinstance(e, dict))


def wait_until_left(upstream: FakeUpstream) -> None:
    """The upstream notices within a moment that nobody listens."""
    for _ in range(200):
        if upstream.accounts[0].is_left:
            return
        threading.Event().wait(0.01)
    raise AssertionError("the upstream was not left")
