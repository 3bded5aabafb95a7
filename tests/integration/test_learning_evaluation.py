"""Off-policy evaluation and convergence through the Lambda handlers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, rollups
from shared.kit.clock import utc_now
from tests.fakes.lambda_client import LambdaClient

# What the two models' answers are worth on average; every other one is a little better or worse,
# so that the figures below hold whichever model each decision draws.
QUALITY = {"test/small": 0.3, "test/large": 0.9}


@pytest.fixture
def client(make_key: Callable[..., LambdaClient], registry: list[str]) -> LambdaClient:
    return make_key("chat", "feedback", "route", "read", "manage")


def document_of(client: LambdaClient, **changes: Any) -> dict[str, Any]:
    policy = next(p for p in client.get("/api/policies").json()["items"] if p["is_default"])
    document: dict[str, Any] = policy["document"]
    for level in document["levels"].values():
        level.update(changes)
    return document


@pytest.fixture
def judged(client: LambdaClient) -> LambdaClient:
    """Two hundred judged decisions of a policy that chooses by a fair coin."""
    body = {
        "name": "coin",
        "document": document_of(
            client, strategy="epsilon_greedy", epsilon=1.0, quality_value_usd=1.0,
            latency_cost_usd_per_s=0.0, primary="test/small", models=None, fallbacks=[],
            max_exploration_share=1.0, max_exploration_usd_per_day=None,
        ),
    }  # fmt: skip
    created = client.post("/api/policies", body)
    assert created.status == 201, created.body
    seen: Counter[str] = Counter()
    for start in range(0, 200, 100):
        items = [
            {"prompt": f"What is {n} + {n}?", "task_type": "math", "policy": "coin"}
            for n in range(start, start + 100)
        ]
        answer = client.post("/api/neural/route/batch", {"items": items}).json()["items"]
        judgements = []
        for item in answer:
            model = item["decision"]["model"]
            seen[model] += 1
            score = QUALITY[model] + (0.05 if seen[model] % 2 else -0.05)
            judgements.append({"decision_id": item["decision"]["decision_id"], "score": score})
        assert client.post("/api/learning/feedback/batch", {"items": judgements}).status == 200
    return client


def evaluated(client: LambdaClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/api/learning/evaluate", body)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def estimate(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(e for e in found["parts"][0]["estimates"] if e["estimator"] == name)


@pytest.mark.parametrize("model", ["test/small", "test/large"])
def test_a_fixed_model_is_judged_from_a_log_that_mixes_both(
    judged: LambdaClient, model: str
) -> None:
    found = evaluated(judged, model=model)
    assert found["target"] == f"model {model}"
    assert found["decisions"] == 200
    assert [e["estimator"] for e in found["parts"][0]["estimates"]] == [
        "ips", "snips", "dm", "dr", "dr_clipped",
    ]  # fmt: skip
    for name in ("snips", "dr", "dr_clipped"):
        one = estimate(found, name)
        assert one["value"] == pytest.approx(QUALITY[model], abs=0.03)
        assert one["lower"] <= one["value"] <= one["upper"]
    assert found["parts"][0]["logged"]["value"] == pytest.approx(0.6, abs=0.18)
    assert found["parts"][0]["overlap"]["not_evaluable_share"] == 0
    assert found["parts"][1]["level"] == "L3"


def test_the_logging_policy_judged_by_itself_earns_what_it_earned(judged: LambdaClient) -> None:
    found = evaluated(judged, policy="coin", learner="at_decision")
    logged = found["parts"][0]["logged"]["value"]
    assert estimate(found, "ips")["value"] == pytest.approx(logged, abs=1e-9)
    assert estimate(found, "ips")["effective_sample_size"] == pytest.approx(200)


def test_a_draft_and_its_greedy_form_are_judged(judged: LambdaClient) -> None:
    document = document_of(judged, models=["test/large"], primary="test/large", fallbacks=[])
    found = evaluated(judged, document=document, greedy=True)
    assert found["target"] == "policy draft version 1, greedy"
    share = {a["model"]: a["target_share"] for a in found["parts"][0]["overlap"]["actions"]}
    assert share == {"test/small": 0.0, "test/large": 1.0}


def test_traffic_that_the_log_never_tried_is_named(client: LambdaClient) -> None:
    only = {"models_allowed": ["test/small"]}
    for n in range(30):
        body = {"prompt": f"q{n}", "constraints": only, "level": "L2"}
        decided = client.post("/api/neural/route", body).json()["decision_id"]
        client.post("/api/learning/feedback", {"decision_id": decided, "score": n % 2})
    found = evaluated(client, model="test/large")
    assert found["parts"][0]["overlap"]["not_evaluable_share"] == 1
    assert "not evaluable" in found["warnings"][0]
    assert "test/large" in found["warnings"][0]
    assert [e["estimator"] for e in found["parts"][0]["estimates"]] == [
        "ips", "dm", "dr", "dr_clipped",
    ]  # fmt: skip


def test_an_evaluation_writes_nothing_and_stays_in_its_window(
    judged: LambdaClient, engine: sa.Engine
) -> None:
    def size() -> int:
        with engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(decisions)) or 0)

    before = size()
    assert evaluated(judged, model="test/small", max_decisions=50)["decisions"] == 50
    assert size() == before
    long_ago = (utc_now() - timedelta(days=3)).isoformat()
    for until in (long_ago, "0001-01-01T00:00:00Z"):
        empty = judged.post("/api/learning/evaluate", {"model": "test/small", "until": until})
        assert empty.status == 409
        assert empty.json()["type"].endswith("not-enough-feedback")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "no/such"}, 422),
        ({"policy": "nobody"}, 404),
        ({"policy": "coin", "version": 9}, 404),
        ({"version": 1}, 422),
        ({"model": "test/small", "policy": "coin"}, 422),
        ({"model": "test/small", "greedy": True}, 422),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422),
    ],
)
def test_a_target_that_cannot_be_judged_is_refused(
    client: LambdaClient, body: dict[str, Any], status: int
) -> None:
    assert client.post("/api/learning/evaluate", body).status == status


def test_only_who_manages_may_evaluate(
    make_key: Callable[..., LambdaClient], registry: list[str]
) -> None:
    reader = make_key("read")
    assert reader.post("/api/learning/evaluate", {}).status == 403
    assert reader.get("/api/learning/convergence").status == 200


def add_rollup(engine: sa.Engine, days_ago: float, model: str, n: int, mean: float) -> None:
    weight = 2.0 * n
    with engine.begin() as connection:
        connection.execute(
            sa.insert(rollups).values(
                grain="1h", bucket_at=utc_now() - timedelta(days=days_ago), level="L3",
                model=model, policy_version_id="00000000-0000-0000-0000-000000000001",
                track="stable", decisions=n, rewards=n, latency_sketch={}, weight_sum=weight,
                weighted_reward_sum_usd=weight * mean, weight_square_sum=4.0 * n,
                weight_square_reward_sum=4.0 * n * mean,
                weight_square_reward_square_sum=4.0 * n * mean,
            )
        )  # fmt: skip


def test_a_clear_lead_that_lasts_has_converged_since_it_was_clear(
    client: LambdaClient, engine: sa.Engine
) -> None:
    for day in range(10):
        add_rollup(engine, day + 0.5, "test/large", 400, 0.8)
        add_rollup(engine, day + 0.5, "test/small", 400, 0.5)
    levels = client.get("/api/learning/convergence").json()["levels"]
    found = next(level for level in levels if level["level"] == "L3")
    assert found["leader"] == "test/large"
    assert found["converged"] is True
    assert found["probability_best"] > 0.99
    assert found["advantage_usd"] == pytest.approx(0.3)
    assert found["converged_since"] is not None
    silent = next(level for level in levels if level["level"] == "L1")
    assert silent["leader"] is None
    assert silent["converged"] is False


def test_a_tie_has_not_converged(client: LambdaClient, engine: sa.Engine) -> None:
    for day in range(5):
        add_rollup(engine, day + 0.5, "test/large", 50, 0.61)
        add_rollup(engine, day + 0.5, "test/small", 50, 0.60)
    levels = client.get("/api/learning/convergence").json()["levels"]
    found = next(level for level in levels if level["level"] == "L3")
    assert found["converged"] is False
    assert "probability" in found["reason"]
