"""The gateway between hostile providers and careless clients."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, outbox, outcomes
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.upstream import FakeUpstream, send, status
from tests.integration.conftest import process_with

MakeKey = Callable[..., LambdaClient]
MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]
CHAT = {"model": "auto", "messages": MESSAGES}
CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}]


@pytest.fixture
def client(make_key: MakeKey, registry: list[str]) -> LambdaClient:
    return make_key("chat", "read")


def says(body: object) -> Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status(200, content)


def outcome_of(client: LambdaClient, served: Any) -> dict[str, Any]:
    path = f"/api/neural/decisions/{served.headers['x-davinci-decision-id']}"
    outcome: dict[str, Any] = client.get(path).json()["outcome"]
    return outcome


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {},
        {"prompt_tokens": 3},
        {"prompt_tokens": "3", "completion_tokens": "4"},
        {"prompt_tokens": 3, "completion_tokens": -4},
        {"prompt_tokens": 3, "completion_tokens": 10**30},
        {"prompt_tokens": 3, "completion_tokens": 2**31},
        {"prompt_tokens": 3, "completion_tokens": 4.5},
        {"prompt_tokens": 3, "completion_tokens": True},
        {"prompt_tokens": -(10**18), "completion_tokens": None},
    ],
)
def test_nonsense_usage_is_estimated_instead(
    client: LambdaClient, upstream: FakeUpstream, usage: object
) -> None:
    behaviour = says({"choices": CHOICES, "usage": usage})
    upstream.behaviours = {"small": behaviour, "large": behaviour}
    served = client.post("/v1/chat/completions", CHAT)
    assert served.status == 200, served.body
    outcome = outcome_of(client, served)
    assert outcome["attempts"][-1]["usage"] == "missing"
    assert 0 < outcome["tokens_in"] < 100 and 0 < outcome["tokens_out"] < 100
    assert outcome["cost_usd"] > 0


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (b"", "empty"),
        *[
            (body, "malformed")
            for body in (
                b"null", b"[]", b'"text"', b"{}", b'{"choices": []}', b'{"choices": {}}',
                b"\xff\xfe", b"[" * 100_000, b'{"choices": [NaN]}',
                b'{"choices": [{"x": Infinity}]}',
                b'{"choices": [1]}', b'{"choices": [null]}', b'{"choices": [{}]}',
                b'{"choices": [{"message": null}]}',
            )
        ],
        (b'{"choices": [{"message": {}}]' + b" " * 5_000_001 + b"}", "too-large"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_falls_through_every_model(
    client: LambdaClient, upstream: FakeUpstream, body: bytes, error_class: str
) -> None:
    upstream.behaviours = {"small": status(200, body), "large": status(200, body)}
    failed = client.post("/v1/chat/completions", CHAT)
    assert failed.status == 502, failed.body
    assert failed.json()["error"]["type"] == "api_error"
    outcome = outcome_of(client, failed)
    assert [a["error_class"] for a in outcome["attempts"]] == [error_class] * 2


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {}},
        {"message": {"content": 7}},
        {"message": {"content": "NUL \x00 inside"}},
        {"message": {"content": ["a", {"text": 1}]}},
    ],
)
def test_odd_choices_are_passed_on_as_they_came(
    client: LambdaClient, upstream: FakeUpstream, choice: object
) -> None:
    behaviour = says({"choices": [choice]})
    upstream.behaviours = {"small": behaviour, "large": behaviour}
    served = client.post("/v1/chat/completions", CHAT)
    assert served.status == 200, served.body
    assert served.json()["choices"] == [choice]
    assert outcome_of(client, served)["status"] == "success"


def test_a_provider_that_drips_is_cut_at_the_total_timeout(
    make_key: MakeKey, registry: list[str], upstream: FakeUpstream
) -> None:
    def drip(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b" ")
                time.sleep(0.1)
        except OSError:
            handler.close_connection = True

    upstream.behaviours = {"small": drip, "large": drip}
    client = make_key("chat", "read")
    with process_with({"DAVINCI_UPSTREAM_TOTAL_TIMEOUT_S": "1"}):
        started_at = time.monotonic()
        failed = client.post("/v1/chat/completions", CHAT)
        took_s = time.monotonic() - started_at
        assert failed.status == 504, failed.body
        assert failed.json()["error"]["code"] == "upstream_timeout"
        assert took_s < 2.5
        assert outcome_of(client, failed)["error_class"] == "timeout"


def test_redirects_are_not_followed(client: LambdaClient, upstream: FakeUpstream) -> None:
    away = status(302, location=upstream.url + "/elsewhere")
    upstream.behaviours = {"small": away, "large": away}
    assert client.post("/v1/chat/completions", CHAT).status == 502
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:9/v1", "http://[::1", "http://no.invalid/v1", "http://127.0.0.1:99999"],
)
def test_an_unreachable_provider_is_an_outcome(
    client: LambdaClient, admin: LambdaClient, base_url: str
) -> None:
    body = {
        "id": "test/gone", "provider": "test", "base_url": base_url, "upstream_name": "x",
        "context_tokens": 1_000,
    }  # fmt: skip
    created = admin.post("/api/models", body)
    if created.status == 422:
        assert created.json()["errors"][0]["pointer"] == "#/base_url"
        return
    failed = client.post("/v1/chat/completions", {**CHAT, "model": "test/gone"})
    assert failed.status == 502, failed.body
    assert outcome_of(client, failed)["error_class"] == "connect"


def test_a_missing_provider_key_is_an_outcome_that_names_no_secret(
    client: LambdaClient, admin: LambdaClient, upstream: FakeUpstream
) -> None:
    change = {"secret_ref": "env:TEST_NO_SUCH_PROVIDER_API_KEY"}
    for model in ("small", "large"):
        done = admin.patch(f"/api/models/test/{model}", change, headers={"if-match": "*"})
        assert done.status == 200
    failed = client.post("/v1/chat/completions", CHAT)
    assert failed.status == 502 and outcome_of(client, failed)["error_class"] == "secret"
    assert upstream.requests == []


def test_an_unknown_price_costs_none_not_zero(
    client: LambdaClient, admin: LambdaClient, upstream: FakeUpstream
) -> None:
    change = {"output_usd_per_mtok": None}
    admin.patch("/api/models/test/small", change, headers={"if-match": "*"})
    served = client.post("/v1/chat/completions", {**CHAT, "model": "test/small"})
    assert served.status == 200
    assert "x-davinci-cost-usd" not in served.headers
    assert outcome_of(client, served)["cost_usd"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": float("nan")},
        {"logit_bias": {"1": float("-inf")}},
        {"user": "lone \ud800 surrogate"},
        {"messages": [{"role": "user", "content": "\udfff"}]},
        {"messages": [{"role": "user", "content": "x", "name": "\ud800"}]},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"content": "no role"}]},
        {"model": ""},
        {"max_tokens": 0},
        {"metadata": {"davinci_task": 7}},
        {"metadata": {"davinci_task": "Not A Slug"}},
        {"metadata": {"davinci_level": "L9"}},
        {"model": "auto:L9"},
        {"stream": "yes"},
        {"stream": 1},
        {"stream_options": {"include_usage": "yes"}},
        {"n": 0},
        {"n": "2"},
        {"n": True},
        {"max_tokens": "50"},
        {"max_completion_tokens": 1.5},
    ],
)
def test_a_faulty_request_is_refused_before_anything_is_written(
    client: LambdaClient, upstream: FakeUpstream, engine: sa.Engine, change: dict[str, Any]
) -> None:
    refused = client.post("/v1/chat/completions", {**CHAT, **change})
    assert refused.status == 400, refused.body
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"] and error["param"]
    assert upstream.requests == []
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(decisions)) == 0


@pytest.mark.parametrize(
    "content", ["NUL \x00", None, "", [{"type": "text", "text": "\x00"}], [{}], []]
)
def test_any_content_that_a_provider_takes_is_served(
    client: LambdaClient, upstream: FakeUpstream, content: object
) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": content}]}
    served = client.post("/v1/chat/completions", body)
    assert served.status == 200, served.body
    assert upstream.requests[-1]["messages"] == body["messages"]


def test_every_served_request_has_one_outcome_and_its_events(
    client: LambdaClient, upstream: FakeUpstream, engine: sa.Engine
) -> None:
    def flaky(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
        if len(upstream.requests) % 3 == 0:
            return send(handler, 500, b"{}")
        return send(handler, 200, json.dumps({"choices": CHOICES}).encode())

    upstream.behaviours = {"small": flaky, "large": flaky}
    for _ in range(10):
        client.post("/v1/chat/completions", CHAT)
    with engine.connect() as connection:
        decided = set(connection.scalars(sa.select(decisions.c.id)))
        served = set(connection.scalars(sa.select(outcomes.c.decision_id)))
        told = connection.execute(
            sa.select(outbox.c.detail_type, outbox.c.data["decision_id"].astext)
        ).all()
    assert decided == served and len(decided) == 10
    texts = {f"dec_{i.hex}" for i in decided}
    for kind in ("NeuralRouteCompleted", "OutcomeRecorded"):
        ids = [decision_id for detail_type, decision_id in told if detail_type == kind]
        assert len(ids) == 10 and set(ids) == texts


def test_models_are_listed_in_openais_shape(client: LambdaClient, admin: LambdaClient) -> None:
    admin.patch("/api/models/test/large", {"enabled": False}, headers={"if-match": "*"})
    listed = client.get("/v1/models").json()
    assert [m["id"] for m in listed["data"]] == ["auto", "test/small"]
    assert {m["object"] for m in listed["data"]} == {"model"}
