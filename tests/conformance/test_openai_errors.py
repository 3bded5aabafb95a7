"""OpenAI's own Python client against the gateway: models, embeddings, and every kind of error."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.conformance.harness import MODEL, SAYS, Gateway, decision_of, says, sent
from tests.fakes.upstream import (
    answer,
    error,
    hang,
    refusing_port,
    status,
)

# Models.


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"auto", MODEL, "acme/embedder"} <= listed.keys()
    assert listed[MODEL].object == "model" and listed[MODEL].owned_by
    assert client.models.retrieve(MODEL) == listed[MODEL]
    assert client.models.retrieve("auto").id == "auto"


def test_a_model_that_is_not_there_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("acme/nobody")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="acme/nobody", messages=SAYS)
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert caught.value.type == "invalid_request_error"


# Embeddings.


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_embeddings_in_every_encoding(
    gateway: Gateway, client: OpenAI, encoding: Any
) -> None:  # fmt: skip
    more = {} if encoding is None else {"encoding_format": encoding}
    raw = client.embeddings.with_raw_response.create(
        model="acme/embedder", input=["one two", "three"], dimensions=3, user="ann", **more
    )
    done = raw.parse()
    vectors: list[Any] = [item.embedding for item in done.data]
    if encoding == "base64":  # the client decodes only what it asked for by itself
        vectors = [list(memoryview(base64.b64decode(v)).cast("f")) for v in vectors]
    assert vectors == [[0.0, 0.5, -1.0], [1.0, 0.5, -1.0]]
    assert done.usage.prompt_tokens == 4 and done.object == "list"
    assert sent(gateway)["input"] == ["one two", "three"] and sent(gateway)["dimensions"] == 3
    outcome = gateway.outcome(decision_of(raw))
    assert outcome["tokens_in"] == 4 and outcome["cost_usd"] == pytest.approx(4 * 0.25e-6)


# Errors.


@pytest.mark.parametrize("key", ["dv_nothing", "sk-anything", "x"])
def test_a_bad_key_is_an_authentication_error(gateway: Gateway, key: str) -> None:
    with (
        OpenAI(base_url=gateway.base_url, api_key=key) as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.chat.completions.create(model=MODEL, messages=SAYS)
    assert caught.value.code == "invalid_api_key" and caught.value.request_id


def test_a_key_without_the_scope_is_forbidden(gateway: Gateway) -> None:
    reader = gateway.make_key(scopes=["read"])
    with (
        OpenAI(base_url=gateway.base_url, api_key=reader) as client,
        pytest.raises(openai.PermissionDeniedError),
    ):
        client.chat.completions.create(model=MODEL, messages=SAYS)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "no role"}]}, "messages"),
        ({"model": "auto:L9"}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"metadata": {"davinci_level": "L9"}}, None),
    ],
)
def test_a_faulty_request_names_its_parameter(
    gateway: Gateway, client: OpenAI, change: dict[str, Any], param: str | None
) -> None:
    with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": SAYS, **change})
    assert caught.value.type == "invalid_request_error" and caught.value.message
    if param is not None:
        assert str(caught.value.param).startswith(param)
    assert gateway.upstream.requests == []


def test_what_the_provider_rejects_is_a_bad_request_in_its_words(
    gateway: Gateway, client: OpenAI
) -> None:
    body = {"message": "max_tokens is too large", "type": "invalid_request_error",
            "param": "max_tokens", "code": "invalid_value"}  # fmt: skip

    says(gateway, status(400, json.dumps({"error": body}).encode()))
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=SAYS)
    assert "max_tokens is too large" in caught.value.message
    assert caught.value.param == "max_tokens" and caught.value.code == "invalid_value"


@pytest.mark.parametrize("is_stream", [False, True])
def test_providers_that_limit_us_are_a_rate_limit_error(
    running: Gateway, gateway: Gateway, is_stream: bool
) -> None:
    model = f"acme/limited-{is_stream}".lower()
    running.register(model)
    gateway.upstream.behaviours[model] = error(429, "slow", retry_after="77")
    with (
        OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=15) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model=model, messages=SAYS, stream=is_stream)
    assert 70 <= int(caught.value.response.headers["retry-after"]) <= 77


def test_a_limit_names_the_time_after_which_to_come_back(gateway: Gateway) -> None:
    hurried = gateway.make_key(rpm=1)
    with OpenAI(base_url=gateway.base_url, api_key=hurried, max_retries=0) as client:
        client.chat.completions.create(model=MODEL, messages=SAYS)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model=MODEL, messages=SAYS)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert caught.value.code == "rate_limit_exceeded"
    assert len(gateway.upstream.requests) == 1


def test_the_clients_own_retry_succeeds_when_the_limit_has_passed(gateway: Gateway) -> None:
    """Forty a minute: who has used them up waits for a second or two, as told, and is served."""
    steady = gateway.make_key(rpm=40)
    with OpenAI(base_url=gateway.base_url, api_key=steady, max_retries=3) as client:
        refused = 0
        for _ in range(80):
            raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=SAYS)
            refused += raw.retries_taken
            if refused:
                break
    assert raw.http_response.status_code == 200 and refused >= 1


def test_a_budget_that_is_spent_is_an_insufficient_quota(gateway: Gateway) -> None:
    poor = gateway.make_key(budget={"usd": 1e-6, "window": "total"})
    with (
        OpenAI(base_url=gateway.base_url, api_key=poor, max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model=MODEL, messages=SAYS)
    assert caught.value.code == "insufficient_quota" and gateway.upstream.requests == []


def test_models_that_all_fail_are_an_internal_server_error(
    running: Gateway, gateway: Gateway
) -> None:
    running.register("acme/broken")
    gateway.upstream.behaviours["acme/broken"] = error(500)
    with (
        OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model="acme/broken", messages=SAYS)
    assert caught.value.status_code == 502 and caught.value.type == "api_error"
    assert decision_of(caught.value.response).startswith("dec_")


def test_a_gateway_that_is_not_there_is_a_connection_error() -> None:

    with (
        refusing_port() as url,
        OpenAI(base_url=url, api_key="dv_x", max_retries=0) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        client.models.list()


def test_the_clients_timeout_ends_its_wait_and_the_gateway_lives_on(
    gateway: Gateway, client: OpenAI
) -> None:

    says(gateway, hang)
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(
            model=MODEL, messages=SAYS, timeout=0.3, extra_headers={"x-davinci-timeout-s": "1"}
        )
    outcome = gateway.outcome(gateway.last_decision())
    assert outcome["status"] == "error"
    says(gateway, answer("Still here.", prompt_tokens=1, completion_tokens=1))
    done = client.chat.completions.create(model=MODEL, messages=SAYS)
    assert done.choices[0].message.content == "Still here."


def test_an_unknown_route_is_an_error_that_the_client_understands(
    gateway: Gateway, client: OpenAI
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model=MODEL, prompt="x")
    assert isinstance(caught.value.body, dict) and caught.value.message


def test_an_idempotency_key_serves_once(gateway: Gateway, client: OpenAI) -> None:
    headers = {"idempotency-key": "the same for both"}
    first = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=SAYS, extra_headers=headers
    )
    again = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=SAYS, extra_headers=headers
    )
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content and decision_of(again) == decision_of(first)
    assert len(gateway.upstream.requests) == 1


def test_keys_are_taken_from_the_other_header_too(gateway: Gateway) -> None:
    with httpx.Client(base_url=gateway.base_url, trust_env=False) as plain:
        listed = plain.get("/models", headers={"x-api-key": gateway.key})
    assert listed.status_code == 200 and listed.json()["object"] == "list"
