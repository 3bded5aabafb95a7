"""One decision, all the way: decided, served, judged, learned from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from shared.db.tables import breakers, outbox
from tests.fakes.lambda_client import LambdaClient, invoke_worker
from tests.fakes.upstream import FakeUpstream, answer, hang_up, status

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}


@pytest.fixture
def client(make_key: Callable[..., LambdaClient], registry: list[str]) -> LambdaClient:
    return make_key("chat", "feedback", "route", "read")


@pytest.fixture
def no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay's bus, where only numbering matters."""
    from functions.events import worker

    class Taken:
        def put(self, entries: list[object]) -> list[bool]:
            return [True] * len(entries)

    monkeypatch.setattr(worker, "bus_for", lambda settings: Taken())


def test_route_answers_with_a_complete_distribution(client: LambdaClient) -> None:
    decided = client.post("/api/neural/route", {"prompt": "Prove that 17 is prime."})
    assert decided.status == 200, decided.body
    body = decided.json()
    assert body["decision_id"].startswith("dec_")
    assert sum(c["probability"] for c in body["candidates"]) == pytest.approx(1, abs=1e-12)
    chosen = next(c for c in body["candidates"] if c["model"] == body["model"])
    assert body["propensity"] == chosen["probability"]
    stored = client.get(f"/api/neural/decisions/{body['decision_id']}").json()
    assert {k: stored[k] for k in body} == body
    assert stored["outcome"] is None and stored["feedback"] == []
    assert stored["text"] == {"prompt": "Prove that 17 is prime."}


def test_chat_is_served_recorded_and_judged(
    client: LambdaClient, upstream: FakeUpstream, engine: sa.Engine, no_bus: None
) -> None:
    served = client.post("/v1/chat/completions", CHAT, headers={"x-davinci-task": "math"})
    assert served.status == 200, served.body
    assert served.json()["choices"][0]["message"]["content"] == "Hello."
    decision_id = served.headers["x-davinci-decision-id"]
    assert served.headers["x-davinci-level"] == "L3"

    feedback = {"decision_id": decision_id, "score": 0.75, "source": "judge"}
    first = client.post("/api/learning/feedback", feedback)
    assert first.status == 201, first.body
    assert client.post("/api/learning/feedback", feedback).status == 200
    differing = client.post("/api/learning/feedback", {**feedback, "score": 0.1})
    assert differing.status == 409

    decision = client.get(f"/api/neural/decisions/{decision_id}").json()
    price = {"test/small": 0.2, "test/large": 2.0}[decision["outcome"]["model"]]
    assert decision["outcome"]["cost_usd"] == pytest.approx(30 * price / 1e6)
    assert float(served.headers["x-davinci-cost-usd"]) == pytest.approx(30 * price / 1e6)
    assert [f["score"] for f in decision["feedback"]] == [0.75]

    assert invoke_worker("events", {})["numbered"] == 3
    for _ in range(2):  # the second trigger folds nothing again
        invoke_worker("learning", {"Records": []})
    metrics = client.get("/api/learning/metrics", {"window": "1h"}).json()
    assert (metrics["requests"], metrics["successes"], metrics["updates"]) == (1, 1, 2)
    assert metrics["quality_mean"] == 0.75
    events = client.get("/api/events").json()
    assert [e["sequence"] for e in events["items"]] == [1, 2, 3]
    assert {e["type"] for e in events["items"]} == {
        "neural.route.completed", "outcome.recorded", "feedback.recorded",
    }  # fmt: skip
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(outbox)) == 3


@pytest.mark.parametrize("failure", [status(500), status(429), hang_up, status(200, b"not json")])
def test_a_failing_model_falls_back_to_the_next(
    client: LambdaClient, upstream: FakeUpstream, failure: object
) -> None:
    good = answer("From the fallback.", prompt_tokens=1, completion_tokens=1)
    calls: list[str] = []

    def first_fails(handler: object, request: dict[str, str]) -> None:
        calls.append(request["model"])
        is_first = request["model"] == calls[0]
        (failure if is_first else good)(handler, request)  # type: ignore[operator]

    upstream.behaviours = {"small": first_fails, "large": first_fails}
    served = client.post("/v1/chat/completions", CHAT)
    assert served.status == 200, served.body
    assert len(set(calls)) == 2
    decision = client.get(f"/api/neural/decisions/{served.headers['x-davinci-decision-id']}").json()
    *failed, last = decision["outcome"]["attempts"]
    assert failed and all(a["error_class"] is not None for a in failed)
    assert last["error_class"] is None
    assert served.headers["x-davinci-model"] == decision["outcome"]["model"] != decision["model"]


def test_when_every_model_fails_the_outcome_says_so(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    upstream.behaviours = {"small": status(503), "large": status(503)}
    failed = client.post("/v1/chat/completions", CHAT)
    assert failed.status == 502
    assert failed.json()["error"]["code"] == "upstream_failed"
    decision = client.get(f"/api/neural/decisions/{failed.headers['x-davinci-decision-id']}").json()
    assert decision["outcome"]["status"] == "error"
    assert decision["outcome"]["error_class"] == "upstream-5xx"


def test_a_rejected_request_is_not_tried_elsewhere(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    said = b'{"error": {"message": "temperature is too hot"}}'
    upstream.behaviours = {"small": status(400, said), "large": status(400, said)}
    rejected = client.post("/v1/chat/completions", {**CHAT, "temperature": 9})
    assert rejected.status == 400
    assert "temperature is too hot" in rejected.json()["error"]["message"]
    assert len(upstream.requests) == 1


def test_a_concrete_model_is_served_by_that_model(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    served = client.post("/v1/chat/completions", {**CHAT, "model": "test/large"})
    assert served.headers["x-davinci-model"] == "test/large"
    assert upstream.requests[0]["model"] == "large"
    unknown = client.post("/v1/chat/completions", {**CHAT, "model": "gpt-99"})
    assert unknown.status == 404
    assert unknown.json()["error"]["code"] == "model_not_found"


def test_unknown_members_reach_the_provider_and_our_own_do_not(
    client: LambdaClient, upstream: FakeUpstream
) -> None:
    metadata = {"davinci_task": "code", "ticket": "42"}
    body = {**CHAT, "seed": 7, "logit_bias": {"50256": -100}, "metadata": metadata}
    served = client.post("/v1/chat/completions", body)
    assert served.headers["x-davinci-level"] == "L4"
    sent = upstream.requests[0]
    assert sent["seed"] == 7 and sent["logit_bias"] == {"50256": -100}
    assert sent["metadata"] == {"ticket": "42"}


def test_a_session_keeps_its_model_in_mind(client: LambdaClient) -> None:
    body = {"prompt": "Go on.", "session_id": "conversation-1"}
    first = client.post("/api/neural/route", body).json()
    assert client.post("/api/neural/route", body).status == 200
    assert first["model"] in {"test/small", "test/large"}


def test_history_pages_show_every_decision_once(client: LambdaClient) -> None:
    ids = [
        client.post("/api/neural/route", {"prompt": f"Question {n}"}).json()["decision_id"]
        for n in range(5)
    ]
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get(
            "/api/neural/history", {"limit": 2, **({"cursor": cursor} if cursor else {})}
        )
        seen += [item["decision_id"] for item in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_a_model_whose_breaker_is_open_is_not_chosen_until_it_may_be_tried(
    client: LambdaClient, upstream: FakeUpstream, engine: sa.Engine
) -> None:
    upstream.behaviours = {"small": status(401)}  # a bad key opens at once, and for long
    first = client.post("/v1/chat/completions", {**CHAT, "model": "test/small"})
    assert first.status >= 400
    for _ in range(3):
        decision = client.post("/api/neural/route", {"prompt": "Is 17 a prime number?"}).json()
        assert decision["model"] == "test/large"
        (small,) = [c for c in decision["candidates"] if c["model"] == "test/small"]
        assert (small["eligible"], small["why_not"]) == (False, "down")
    again = client.post("/v1/chat/completions", {**CHAT, "model": "test/small"})
    assert (again.status, again.headers["retry-after"]) == (503, "5")
    assert again.json()["error"]["code"] == "models_down"
    with engine.begin() as connection:
        connection.execute(sa.update(breakers).values(open_until=sa.func.clock_timestamp()))
    decision = client.post("/api/neural/route", {"prompt": "Is 17 a prime number?"}).json()
    assert all(candidate["eligible"] for candidate in decision["candidates"])
