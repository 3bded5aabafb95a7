"""OpenAI's chat completions as its clients know them, whoever serves."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fakes.lambda_client import LambdaClient
from tests.fakes.upstream import FakeUpstream, answer, completion, error, hang, status
from tests.integration.gateway import CHAT, MESSAGES, Books, MakeKey, outcome_of

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
def client(make_key: MakeKey, registry: list[str]) -> LambdaClient:
    return make_key("chat", "read")


@pytest.fixture
def books(engine: sa.Engine, client: LambdaClient) -> Books:
    return Books(engine)


def both(upstream: FakeUpstream, behaviour: Any) -> None:
    upstream.behaviours = {"small": behaviour, "large": behaviour}


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}, "tools": [TOOL]},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"n": 2, "stop": ["\n"], "seed": 7, "user": "u-1", "temperature": 0.0, "top_p": 1},
        {"logprobs": True, "top_logprobs": 5, "logit_bias": {"50256": -100}},
        {"reasoning_effort": "low", "verbosity": "low", "service_tier": "flex", "store": False},
        {"max_completion_tokens": 64, "prediction": {"type": "content", "content": "x"}},
        {"functions": [TOOL["function"]], "function_call": "auto"},
        {"a_member_of_next_year": {"deep": [None, 1.5, "é"]}},
    ],
)
def test_every_member_reaches_the_provider_as_it_was_sent(
    client: LambdaClient, upstream: FakeUpstream, members: dict[str, Any]
) -> None:
    served = client.post("/v1/chat/completions", {**CHAT, **members})
    assert served.status == 200, served.body
    sent = upstream.requests[-1]
    assert {**sent, "model": "auto"} == {**CHAT, **members}


def test_calls_of_tools_come_back_as_the_provider_made_them(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "hm"}
    both(upstream, completion(message, "tool_calls", prompt_tokens=9, completion_tokens=5))
    choice = client.post("/v1/chat/completions", {**CHAT, "tools": [TOOL]}).json()["choices"][0]
    assert choice["message"] == message and choice["finish_reason"] == "tool_calls"
    conversation = [
        *MESSAGES, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "22 °C"},
    ]  # fmt: skip
    assert client.post("/v1/chat/completions", {**CHAT, "messages": conversation}).status == 200
    assert upstream.requests[-1]["messages"] == conversation


def test_images_go_to_models_that_see_and_to_no_other(
    client: LambdaClient, admin: LambdaClient, upstream: FakeUpstream
) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": [IMAGE]}]}
    blind = client.post("/v1/chat/completions", body)
    assert blind.status == 422 and blind.json()["error"]["code"] == "no_eligible_model"
    change = {"modalities": ["text", "image"]}
    admin.patch("/api/models/test/large", change, headers={"if-match": "*"})
    served = client.post("/v1/chat/completions", body)
    assert served.headers["x-davinci-model"] == "test/large"
    assert upstream.requests[-1]["messages"][0]["content"] == [IMAGE]


@pytest.mark.parametrize("as_metadata", [False, True])
@pytest.mark.parametrize(
    ("word", "value", "model"),
    [
        ("models-allowed", "test/large", "test/large"),
        ("models-denied", "test/large", "test/small"),
        ("region", "eu", "test/large"),
        ("min-context-tokens", "100000", "test/large"),
    ],
)
def test_constraints_choose_the_model(
    client: LambdaClient, admin: LambdaClient, word: str, value: str, model: str,
    as_metadata: bool,
) -> None:  # fmt: skip
    change = {"region": "eu", "context_tokens": 200_000}
    admin.patch("/api/models/test/large", change, headers={"if-match": "*"})
    for _ in range(3):
        if as_metadata:
            said = {"davinci_" + word.replace("-", "_"): value}
            served = client.post("/v1/chat/completions", {**CHAT, "metadata": said})
        else:
            served = client.post("/v1/chat/completions", CHAT, headers={f"x-davinci-{word}": value})
        assert served.headers["x-davinci-model"] == model


def test_a_limit_that_no_model_keeps_is_explained(client: LambdaClient) -> None:
    refused = client.post(
        "/v1/chat/completions", CHAT, headers={"x-davinci-max-cost-usd": "0.000000001"}
    )
    assert refused.status == 422
    said = refused.json()["error"]
    assert said["code"] == "no_eligible_model" and "max_cost_usd" in said["message"]


def test_a_timeout_of_the_callers_is_kept(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    both(upstream, hang)
    failed = client.post("/v1/chat/completions", CHAT, headers={"x-davinci-timeout-s": "0.6"})
    assert failed.status == 504 and failed.json()["error"]["code"] == "upstream_timeout"
    books.assert_closed()


@pytest.mark.parametrize(
    ("behaviour", "code", "name"),
    [
        (status(500), 502, "upstream_failed"),
        (error(429, "slow", retry_after="30"), 429, "rate_limit_exceeded"),
        (error(400, "Too long.", kind="context_length_exceeded"), 400, "context_length_exceeded"),
        (status(400, b"nonsense"), 400, "rejected_by_provider"),
        (status(401), 502, "upstream_failed"),
    ],
)
def test_failures_have_the_statuses_and_codes_that_clients_act_on(
    client: LambdaClient, upstream: FakeUpstream, books: Books, behaviour: Any, code: int,
    name: str,
) -> None:  # fmt: skip
    both(upstream, behaviour)
    failed = client.post("/v1/chat/completions", CHAT)
    said = failed.json()["error"]
    assert (failed.status, said["code"]) == (code, name), failed.body
    assert set(said) == {"message", "type", "param", "code"}
    for header in ("decision-id", "policy", "level", "model"):
        assert failed.headers[f"x-davinci-{header}"]
    assert "upstream;dur=" in failed.headers["server-timing"]
    if code == 429:
        assert failed.headers["retry-after"] == "30"
    books.assert_closed()


def test_a_rejected_request_is_held_against_no_model(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    from shared.db.tables import outbox

    both(upstream, error(400, "No."))
    client.post("/v1/chat/completions", CHAT)
    (told,) = [e.data for e in books.rows(outbox) if e.detail_type == "OutcomeRecorded"]
    assert told["status"] == "error" and told["failed"] == []


def test_a_retry_that_serves_is_no_failure_of_its_model(
    client: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    from shared.db.tables import outbox

    def once(handler: Any, request: Any) -> None:
        first = len(upstream.requests) == 1
        (status(500) if first else answer("4", prompt_tokens=1, completion_tokens=1))(
            handler, request
        )

    both(upstream, once)
    served = client.post("/v1/chat/completions", {**CHAT, "model": "test/small"})
    assert served.status == 200
    tries = outcome_of(client, served)["attempts"]
    assert [a["error_class"] for a in tries] == ["upstream-5xx", None]
    (told,) = [e.data for e in books.rows(outbox) if e.detail_type == "OutcomeRecorded"]
    assert told["failed"] == [] and told["served_by"] == "test/small"


def test_errors_before_any_decision_are_openais_too(
    api: LambdaClient, client: LambdaClient
) -> None:
    unknown = api.with_token("dv_local_x").post("/v1/chat/completions", CHAT)
    assert (unknown.status, unknown.json()["error"]["code"]) == (401, "invalid_api_key")
    assert unknown.headers["www-authenticate"].startswith("Bearer")
    missing = client.post("/v1/chat/completions", {**CHAT, "model": "gpt-99"}).json()["error"]
    assert (missing["code"], missing["param"]) == ("model_not_found", "model")
    faulty = client.post("/v1/chat/completions", {"model": "auto", "messages": [{}]})
    assert (faulty.status, faulty.json()["error"]["param"]) == (400, "messages/0/role")
    named = client.post(
        "/v1/chat/completions", CHAT, headers={"x-davinci-models-allowed": "no/such"}
    )
    assert named.status == 400 and "no/such" in named.json()["error"]["message"]


def test_where_the_time_went_is_told(client: LambdaClient) -> None:
    first = client.post("/v1/chat/completions", CHAT).headers["server-timing"]
    names = [part.partition(";")[0] for part in first.split(", ")]
    assert {"auth", "decide", "db", "upstream", "total"} <= set(names)
    spans = {n: float(d) for n, d in re.findall(r"(\w+);dur=([\d.]+)", first)}
    assert spans["total"] >= max(spans.values())


def test_models_are_listed_and_retrieved(client: LambdaClient, admin: LambdaClient) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [m["id"] for m in listed] == ["auto", "test/large", "test/small"]
    for model in listed:
        assert client.get(f"/v1/models/{model['id']}").json() == model
    admin.patch("/api/models/test/large", {"enabled": False}, headers={"if-match": "*"})
    gone = client.get("/v1/models/test/large")
    assert gone.status == 404 and gone.json()["error"]["code"] == "model_not_found"


def test_a_stored_answer_is_what_was_said_where_text_is_stored(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    both(upstream, answer("Vier.", prompt_tokens=1, completion_tokens=1))
    served = client.post("/v1/chat/completions", CHAT)
    path = f"/api/neural/decisions/{served.headers['x-davinci-decision-id']}"
    stored = client.get(path).json()
    assert stored["text"] == {"messages": MESSAGES}
    assert stored["answer"]["choices"][0]["message"]["content"] == "Vier."
    again = client.get(path, {"replay": "true"}).json()["replay"]
    assert again["identical"] is True, json.dumps(again)
