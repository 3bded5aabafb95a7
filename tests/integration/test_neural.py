"""Deciding under constraints, and finding decisions again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, outbox
from shared.kit.clock import utc_now
from tests.fakes.lambda_client import LambdaClient

MakeKey = Callable[..., LambdaClient]


@pytest.fixture
def client(make_key: MakeKey, registry: list[str]) -> LambdaClient:
    return make_key("route", "read")


@pytest.fixture
def catalogue(admin: LambdaClient, registry: list[str]) -> None:
    """Models that differ in what constraints look at, beside the registry's two."""
    base: dict[str, Any] = {
        "provider": "test",
        "base_url": "http://127.0.0.1:9/v1",
        "upstream_name": "x",
    }
    base |= {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0, "context_tokens": 8_192}
    changes: dict[str, dict[str, Any]] = {
        "test/eu": {"region": "eu-west-1"},
        "test/vision": {"modalities": ["text", "image"], "context_tokens": 200_000},
        "test/dear": {"input_usd_per_mtok": 5_000.0, "output_usd_per_mtok": 9_000.0},
        "test/unpriced": {"input_usd_per_mtok": None, "output_usd_per_mtok": None},
        "test/off": {"enabled": False},
        "test/down": {"status": "down"},
    }
    for model_id, change in changes.items():
        answer = admin.post("/api/models", {**base, "id": model_id, **change})
        assert answer.status == 201, answer.body


def why_not(answer: Any) -> dict[str, str | None]:
    assert answer.status == 200, answer.body
    return {c["model"]: c["why_not"] for c in answer.json()["candidates"]}


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("constraints", "removed", "word"),
    [
        ({"models_allowed": ["test/small"]}, "test/large", "allow"),
        ({"models_denied": ["test/large"]}, "test/large", "den"),
        ({"max_cost_usd": 0.01}, "test/dear", "cost"),
        ({"max_cost_usd": 0.01}, "test/unpriced", "price"),
        ({"max_latency_ms": 1}, None, "latency"),
        ({"region": "eu-west-1"}, "test/small", "region"),
        ({"min_context_tokens": 100_000}, "test/small", "context"),
        ({"modalities": ["text", "image"]}, "test/small", "image"),
        ({}, "test/off", "disabled"),
        ({}, "test/down", "down"),
    ],
)
def test_each_constraint_says_why_it_removed_a_model(
    client: LambdaClient, constraints: dict[str, object], removed: str | None, word: str
) -> None:
    answer = client.post("/api/neural/route", {"prompt": "Hi", "constraints": constraints})
    if removed is None:
        assert answer.status == 422
        assert all(
            word in e["detail"] for e in answer.json()["errors"] if "test/small" in e["pointer"]
        )
        return
    reasons = why_not(answer)
    assert word in (reasons[removed] or "").lower(), reasons
    for candidate in answer.json()["candidates"]:
        assert candidate["eligible"] is (candidate["why_not"] is None)
        assert (candidate["probability"] > 0) <= candidate["eligible"]
    assert answer.json()["model"] != removed


@pytest.mark.usefixtures("catalogue")
def test_an_image_in_the_messages_needs_a_model_that_sees(client: LambdaClient) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]}
    assert client.post("/api/neural/route", body).json()["model"] == "test/vision"


def test_a_prompt_beyond_every_context_finds_no_model(client: LambdaClient) -> None:
    refused = client.post("/api/neural/route", {"prompt": "word " * 20_000})
    assert refused.status == 422 and "context" in refused.body


def test_no_eligible_model_lists_every_reason_and_writes_nothing(
    client: LambdaClient, engine: sa.Engine
) -> None:
    limits = {"models_denied": ["test/small"], "min_context_tokens": 1_000_000}
    refused = client.post("/api/neural/route", {"prompt": "Hi", "constraints": limits})
    assert refused.status == 422
    assert refused.headers["content-type"] == "application/problem+json"
    body = refused.json()
    assert body["type"].endswith("/no-eligible-model")
    reasons = {e["pointer"]: e["detail"] for e in body["errors"]}
    assert set(reasons) == {"model:test/small", "model:test/large"}
    assert "context" in reasons["model:test/large"]
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(decisions)) == 0
        assert connection.scalar(sa.select(sa.func.count()).select_from(outbox)) == 0


def test_a_constraint_on_an_unknown_model_points_at_it(client: LambdaClient) -> None:
    limits = {"models_allowed": ["test/small", "no/such"], "models_denied": ["nor/this"]}
    refused = client.post("/api/neural/route", {"prompt": "Hi", "constraints": limits})
    assert refused.status == 422
    assert {e["pointer"] for e in refused.json()["errors"]} == {
        "#/constraints/models_allowed", "#/constraints/models_denied",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "#"),
        ({"prompt": 7}, "#/prompt"),
        ({"prompt": "x", "propmt": "x"}, "#/propmt"),
        ({"messages": []}, "#/messages"),
        ({"messages": [{"role": "owner", "content": "x"}]}, "#/messages/0/role"),
        ({"messages": [{"role": "user", "content": 7}]}, "#/messages/0/content"),
        ({"prompt": "x", "level": "L7"}, "#/level"),
        ({"prompt": "x", "task_type": "Has Space"}, "#/task_type"),
        ({"prompt": "x", "constraints": {"max_cost_usd": 0}}, "#/constraints/max_cost_usd"),
        ({"prompt": "x", "constraints": {"max_cost_usd": float("nan")}}, "#"),
        ({"prompt": "lone \ud800 surrogate"}, "#"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}]}, "#"),
    ],
)
def test_a_faulty_request_is_pointed_at(
    client: LambdaClient, body: dict[str, Any], pointer: str
) -> None:
    refused = client.post("/api/neural/route", body)
    assert refused.status == 422, refused.body
    assert {e["pointer"] for e in refused.json()["errors"]} == {pointer}


@pytest.mark.parametrize(
    "prompt", ["NUL \x00 inside", "\x00", "", " ", "한국어 " * 50, "🎈", "\ufeff"]
)
def test_any_text_can_be_a_prompt(client: LambdaClient, prompt: str) -> None:
    decided = client.post("/api/neural/route", {"prompt": prompt})
    assert decided.status == 200, decided.body
    stored = client.get(f"/api/neural/decisions/{decided.json()['decision_id']}").json()
    assert stored["text"] == {"prompt": prompt.replace("\x00", "\ufffd")}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}]}
    assert client.post("/api/neural/route", body).status == 200


def test_the_propensities_are_what_is_drawn(client: LambdaClient, admin: LambdaClient) -> None:
    drawn: Counter[str] = Counter()
    for n in range(150):
        body = client.post("/api/neural/route", {"prompt": f"Question {n}", "level": "L2"}).json()
        drawn[body["model"]] += 1
        probability = {c["model"]: c["probability"] for c in body["candidates"]}
    for model, p in probability.items():
        # 150 draws: five standard deviations; nothing was learned in between.
        assert abs(drawn[model] / 150 - p) <= 5 * (p * (1 - p) / 150) ** 0.5 + 1e-9


def test_history_narrows_to_every_filter(client: LambdaClient, make_key: MakeKey) -> None:
    other = make_key("route", "read")
    a = client.post("/api/neural/route", {"prompt": "a", "level": "L1", "task_type": "chat"}).json()
    b = other.post(
        "/api/neural/route", {"prompt": "b", "level": "L4", "policy": "cost-saver"}
    ).json()
    everything = {a["decision_id"], b["decision_id"]}

    def found(**query: str) -> set[str]:
        answer = client.get("/api/neural/history", query)
        assert answer.status == 200, answer.body
        return {item["decision_id"] for item in answer.json()["items"]}

    only_a, only_b = {a["decision_id"]}, {b["decision_id"]}
    assert found() == everything
    assert found(level="L1") == only_a and found(level="L2") == set()
    assert found(policy="cost-saver") == only_b
    assert found(task_type="chat") == only_a
    assert found(caller=b["caller"]) == only_b != found(caller=a["caller"])
    assert found(model=a["model"], level="L1") == only_a
    past, future = (utc_now() + timedelta(hours=h) for h in (-1, 1))
    assert found(**{"from": past.isoformat(), "to": future.isoformat()}) == everything
    assert found(**{"from": future.isoformat()}) == set() == found(to=past.isoformat())
    assert found(to=b["created_at"]) == only_a and found(**{"from": b["created_at"]}) == only_b
    for edge in ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"):
        assert found(**{"from": edge}) == everything and found(to=edge) == set()
    assert found(**{"from": "9999-12-31T23:59:59Z"}) == set()


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": 0}, "?limit"),
        ({"limit": 101}, "?limit"),
        ({"limit": "many"}, "?limit"),
        ({"level": "L9"}, "?level"),
        ({"from": "yesterday"}, "?from"),
        ({"from": "2026-11-22T10:00:00"}, "?from"),
        ({"cursor": "x" * 513}, "?cursor"),
    ],
)
def test_a_faulty_query_names_its_parameter(
    client: LambdaClient, query: dict[str, object], pointer: str
) -> None:
    refused = client.get("/api/neural/history", query)
    assert refused.status == 422, refused.body
    assert [e["pointer"] for e in refused.json()["errors"]] == [pointer]


def test_nul_in_a_filter_is_a_fault_of_the_input(client: LambdaClient) -> None:
    assert client.get("/api/neural/history", {"model": "a\x00b"}).status == 422


def test_an_altered_or_foreign_cursor_is_refused(client: LambdaClient, admin: LambdaClient) -> None:
    for n in range(3):
        client.post("/api/neural/route", {"prompt": str(n)})
    cursor = client.get("/api/neural/history", {"limit": 1}).json()["next_cursor"]
    models = client.get("/api/models", {"limit": 1}).json()["next_cursor"]
    events = client.get("/api/events", {"limit": 1}).json()["next_cursor"]
    policies = client.get("/api/policies", {"limit": 1}).json()["next_cursor"]
    keys_page = admin.get("/api/keys", {"limit": 1}).json()
    altered = [
        cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :] for i in range(0, 60, 7)
    ]
    forged = [
        *altered,
        cursor[:-4],
        "x",
        "é",
        "====",
        "%00",
        models,
        policies,
        events,
        keys_page["next_cursor"],
    ]
    for text in filter(None, forged):
        refused = client.get("/api/neural/history", {"cursor": text})
        assert refused.status == 422, (text, refused.body)
        assert refused.json()["errors"][0]["pointer"] == "?cursor"
    for path in ("/api/models", "/api/policies", "/api/events"):
        assert client.get(path, {"cursor": cursor}).status == 422
    assert admin.get("/api/keys", {"cursor": models}).status == 422
    assert len(client.get("/api/neural/history", {"cursor": cursor}).json()["items"]) == 2


def test_pages_skip_and_repeat_nothing_while_decisions_come(client: LambdaClient) -> None:
    def decide() -> str:
        return str(client.post("/api/neural/route", {"prompt": "x"}).json()["decision_id"])

    before = [decide() for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = client.get("/api/neural/history", query).json()
        seen += [item["decision_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        decide()
    assert seen == before[::-1]


@pytest.mark.parametrize("decision_id", ["dec_" + "0" * 32, "dec_x", "DEC_" + "0" * 32, "%00", "'"])
def test_a_decision_that_is_not_there_is_404(client: LambdaClient, decision_id: str) -> None:
    assert client.get(f"/api/neural/decisions/{decision_id}").status == 404


def test_views_agree_with_what_is_registered(client: LambdaClient) -> None:
    """With one connection per process: these views refresh the snapshot before they read."""
    status = client.get("/api/neural/status").json()
    assert [level["level"] for level in status["levels"]] == ["L1", "L2", "L3", "L4"]
    assert {level["eligible_models"] for level in status["levels"]} == {2}
    assert status["policy"] == {"name": "balanced", "version": 1}
    models = client.get("/api/neural/models").json()["items"]
    assert {m["id"] for m in models} == {"test/small", "test/large"}
    assert all(len(m["estimates"]) == 4 for m in models)
    levels = client.get("/api/neural/levels").json()["items"]
    assert [level["name"] for level in levels] == ["Brainstem", "Limbic", "Neocortex", "NeuroNet"]
    shares = client.get("/api/neural/allocation").json()["items"]
    for name in ("L1", "L2", "L3", "L4"):
        assert sum(s["planned_share"] for s in shares if s["level"] == name) == pytest.approx(1)


def test_an_empty_deployment_shows_itself_and_says_what_is_missing(admin: LambdaClient) -> None:
    status = admin.get("/api/neural/status")
    assert status.status == 200 and status.json()["policy"] is None
    assert admin.get("/api/neural/models").json()["items"] == []
    refused = admin.post("/api/neural/route", {"prompt": "x"})
    assert refused.status == 409 and refused.json()["type"].endswith("/no-policy")
    assert admin.get("/api/neural/levels").status == 409


def test_a_registered_model_is_seen_by_the_very_next_request(
    client: LambdaClient, admin: LambdaClient, engine: sa.Engine
) -> None:
    """Also when the change that was made first commits last."""
    assert len(client.post("/api/neural/route", {"prompt": "x"}).json()["candidates"]) == 2
    change = "UPDATE models SET {} , updated_at = clock_timestamp() WHERE id = :id"
    with engine.connect() as slow, engine.connect() as fast:
        slow.execute(sa.text(change.format("enabled = false")), {"id": "test/small"})
        fast.execute(sa.text(change.format("region = 'eu'")), {"id": "test/large"})
        fast.commit()
        assert client.post("/api/neural/route", {"prompt": "x"}).status == 200
        slow.commit()
    reasons = why_not(client.post("/api/neural/route", {"prompt": "x"}))
    assert reasons["test/small"] is not None
