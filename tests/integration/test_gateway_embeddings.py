"""Embeddings: passed through by one model, decided, recorded and paid for."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.upstream import FakeUpstream, status
from tests.integration.gateway import CHAT, Books, MakeKey, outcome_of


def register(admin: LambdaClient, upstream: FakeUpstream, name: str, **more: Any) -> None:
    body = {
        "id": f"test/{name}", "provider": "test", "base_url": upstream.url, "upstream_name": name,
        "context_tokens": 8_192, "modalities": ["embeddings"], "input_usd_per_mtok": 0.02,
        "output_usd_per_mtok": 0, **more,
    }  # fmt: skip
    created = admin.post("/api/models", body)
    assert created.status == 201, created.body


@pytest.fixture
def client(
    make_key: MakeKey, registry: list[str], admin: LambdaClient, upstream: FakeUpstream
) -> LambdaClient:
    register(admin, upstream, "embed")
    return make_key("chat", "read")


@pytest.fixture
def books(engine: sa.Engine, client: LambdaClient) -> Books:
    return Books(engine)


@pytest.mark.parametrize("model", ["test/embed", "auto"])
def test_vectors_pass_through_with_a_decision_an_outcome_and_a_cost(
    client: LambdaClient, upstream: FakeUpstream, books: Books, model: str
) -> None:
    body = {"model": model, "input": ["a", "b"], "dimensions": 3, "user": "u"}
    served = client.post("/v1/embeddings", body)
    assert served.status == 200, served.body
    assert [d["embedding"] for d in served.json()["data"]] == [[0.0, 0.5, -1.0], [1.0, 0.5, -1.0]]
    assert upstream.requests == [{**body, "model": "embed"}]
    assert served.headers["x-davinci-model"] == "test/embed"
    outcome = outcome_of(client, served)
    assert outcome["status"] == "success" and outcome["tokens_out"] == 0
    assert outcome["cost_usd"] == pytest.approx(outcome["tokens_in"] * 0.02 / 1e6)
    (decision,) = books.rows(decisions)
    assert decision.propensity == 1 and decision.text == {"input": ["a", "b"]}
    books.assert_closed()


def test_base64_is_passed_on_unread(client: LambdaClient) -> None:
    body = {"model": "test/embed", "input": "a", "encoding_format": "base64"}
    vector = client.post("/v1/embeddings", body).json()["data"][0]["embedding"]
    assert vector == "AAAAAAAAAD8AAIC/"


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_texts_and_tokens_are_taken(client: LambdaClient, given: object) -> None:
    served = client.post("/v1/embeddings", {"model": "test/embed", "input": given})
    assert served.status == 200, served.body


@pytest.mark.parametrize("given", ["", [], [""], [[]], [1, "a"], {"a": 1}, None, 7])
def test_nothing_to_embed_is_refused(client: LambdaClient, given: object, books: Books) -> None:
    refused = client.post("/v1/embeddings", {"model": "test/embed", "input": given})
    assert refused.status == 400, refused.body
    assert books.rows(decisions) == []


def test_auto_does_not_choose_between_spaces_of_vectors(
    client: LambdaClient, admin: LambdaClient, upstream: FakeUpstream
) -> None:
    register(admin, upstream, "other")
    refused = client.post("/v1/embeddings", {"model": "auto", "input": "a"})
    assert refused.status == 400 and refused.json()["error"]["param"] == "model"
    assert "test/embed" in refused.json()["error"]["message"]


def test_another_models_vectors_are_no_fallback(
    client: LambdaClient, admin: LambdaClient, upstream: FakeUpstream, books: Books
) -> None:
    register(admin, upstream, "other")
    upstream.behaviours = {"embed": status(503)}
    failed = client.post("/v1/embeddings", {"model": "test/embed", "input": "a"})
    assert failed.status == 502
    assert {r["model"] for r in upstream.requests} == {"embed"}
    books.assert_closed()


def test_a_model_that_only_talks_makes_no_embeddings(client: LambdaClient) -> None:
    refused = client.post("/v1/embeddings", {"model": "test/small", "input": "a"})
    assert refused.status == 400 and refused.json()["error"]["param"] == "model"
    missing = client.post("/v1/embeddings", {"model": "no/such", "input": "a"})
    assert missing.status == 404


def test_a_model_for_embeddings_never_answers_a_chat(
    client: LambdaClient, admin: LambdaClient
) -> None:
    for model in ("test/small", "test/large"):
        admin.patch(f"/api/models/{model}", {"enabled": False}, headers={"if-match": "*"})
    refused = client.post("/v1/chat/completions", CHAT)
    assert refused.status == 422 and "does not take text" in refused.json()["error"]["message"]


def test_a_policy_that_allots_chats_does_not_stand_in_the_way(
    client: LambdaClient, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        changed = connection.execute(
            sa.text(
                "UPDATE policy_versions SET document = jsonb_set(document, '{levels,L1,models}', "
                "'[\"test/small\"]'::jsonb)"
            )
        ).rowcount
        connection.execute(sa.text("UPDATE policies SET updated_at = clock_timestamp()"))
    assert changed > 0
    served = client.post("/v1/embeddings", {"model": "test/embed", "input": "a"})
    assert served.status == 200, served.body
