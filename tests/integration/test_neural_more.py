"""Batches, simulations, exact replays, exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, learner_states
from tests.fakes.lambda_client import LambdaClient, invoke_worker


@pytest.fixture
def client(make_key: Callable[..., LambdaClient], registry: list[str]) -> LambdaClient:
    return make_key("chat", "feedback", "route", "read", "manage")


@pytest.fixture
def taught(client: LambdaClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Twenty judged decisions, folded in two runs."""
    from functions.events import worker

    class Taken:
        def put(self, entries: list[object]) -> list[bool]:
            return [True] * len(entries)

    monkeypatch.setattr(worker, "bus_for", lambda settings: Taken())
    ids = []
    for n in range(20):
        body = {"prompt": f"Question {n}: what is {n} + {n}?", "task_type": "math"}
        decided = client.post("/api/neural/route", body).json()
        ids.append(decided["decision_id"])
        judgement = {"decision_id": ids[-1], "score": n % 2, "source": "judge"}
        assert client.post("/api/learning/feedback", judgement).status == 201
        if n in {9, 19}:
            invoke_worker("events", {})
            invoke_worker("learning", {})
    return ids


def count(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(decisions)) or 0)


def test_a_bad_item_does_not_fail_the_others_and_order_is_kept(
    client: LambdaClient, engine: sa.Engine
) -> None:
    items = [
        {"prompt": "one", "task_type": "math"},
        {"prompt": "two", "messages": []},
        {"prompt": "three", "constraints": {"models_allowed": ["no/such"]}},
        {"prompt": "four", "policy": "nobody"},
        {"prompt": "five", "level": "L1"},
    ]
    answer = client.post("/api/neural/route/batch", {"items": items})
    assert answer.status == 200, answer.body
    got = answer.json()["items"]
    assert [item["index"] for item in got] == [0, 1, 2, 3, 4]
    assert [item["problem"]["status"] if item["problem"] else 200 for item in got] == [
        200, 422, 422, 404, 200,
    ]  # fmt: skip
    assert got[1]["problem"]["errors"][0]["pointer"].startswith("#/items/1")
    assert got[0]["decision"]["level"] == "L3"
    assert count(engine) == 2


def test_a_batch_of_a_hundred_is_taken_and_of_a_hundred_and_one_refused(
    client: LambdaClient, engine: sa.Engine
) -> None:
    hundred = [{"prompt": f"p{n}"} for n in range(100)]
    assert client.post("/api/neural/route/batch", {"items": hundred}).status == 200
    assert count(engine) == 100
    assert client.post("/api/neural/route/batch", {"items": [*hundred, {}]}).status == 422
    assert count(engine) == 100


def test_a_simulation_writes_nothing_and_shows_the_change(
    client: LambdaClient, engine: sa.Engine
) -> None:
    request = {"prompt": "Hello", "constraints": {"models_allowed": ["test/small", "test/large"]}}
    outage = client.post(
        "/api/neural/simulate", {"request": request, "outages": ["test/small"]}
    ).json()
    assert outage["simulated"]["model"] == "test/large"
    removed = next(c for c in outage["simulated"]["candidates"] if c["model"] == "test/small")
    assert not removed["eligible"]
    assert removed["why_not"]
    assert outage["baseline"]["candidates"][0]["eligible"]
    prices = {"test/large": {"input_usd_per_mtok": 1e6, "output_usd_per_mtok": 1e6}}
    dear = client.post("/api/neural/simulate", {"request": request, "prices": prices}).json()
    assert (
        dear["simulated"]["fallbacks"][-1] == "test/large"
        or dear["simulated"]["model"] == "test/small"
    )
    for draft in ({"outages": ["no/such"]}, {"policy": "balanced", "version": 99}, {"version": 1}):
        assert client.post("/api/neural/simulate", {"request": request, **draft}).status in {
            404,
            422,
        }
    assert count(engine) == 0


def test_a_simulation_takes_a_draft_policy(client: LambdaClient) -> None:
    policy = next(p for p in client.get("/api/policies").json()["items"] if p["is_default"])
    document = policy["document"]
    for level in document["levels"].values():
        level |= {"strategy": "greedy", "models": ["test/large"], "primary": "test/large"}
    answer = client.post(
        "/api/neural/simulate", {"request": {"prompt": "Hello"}, "document": document}
    ).json()
    assert answer["simulated"]["policy"]["name"] == "draft"
    assert answer["simulated"]["propensity"] == 1
    assert answer["simulated"]["model"] == "test/large"


def test_every_stored_decision_replays_identically_even_without_its_learner_state(
    client: LambdaClient, taught: list[str], engine: sa.Engine
) -> None:
    later = client.post("/api/neural/route", {"prompt": "and now?", "task_type": "math"}).json()
    changed = client.patch(
        "/api/models/test/large", {"input_usd_per_mtok": 9.0}, headers={"if-match": '"1"'}
    )
    assert changed.status == 200, changed.body
    with engine.begin() as connection:  # retention takes old states; the log still has them
        connection.execute(sa.delete(learner_states))
    for decision_id in (taught[0], taught[15], later["decision_id"]):
        found = client.get(f"/api/neural/decisions/{decision_id}", {"replay": "true"}).json()
        assert found["replay"] == {"identical": True, "differences": [], "impossible": None}


def test_a_tampered_decision_is_noticed_by_its_replay(
    client: LambdaClient, taught: list[str], engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(decisions).values(propensity=0.123456))
    found = client.get(f"/api/neural/decisions/{taught[3]}", {"replay": "true"}).json()
    assert found["replay"]["identical"] is False
    assert "propensity" in found["replay"]["differences"][0]


@pytest.mark.parametrize("stored", [{}, {"router_version": 1}, {"router_version": 999}])
def test_what_another_version_decided_is_said_not_to_be_recomputable(
    client: LambdaClient, taught: list[str], engine: sa.Engine, stored: dict[str, int]
) -> None:
    without = decisions.c.request.op("-")(sa.literal("router_version"))
    with engine.begin() as connection:
        connection.execute(sa.update(decisions).values(request=without.op("||")(stored)))
    replay = client.get(f"/api/neural/decisions/{taught[3]}", {"replay": "true"}).json()["replay"]
    assert (replay["identical"], replay["differences"]) == (None, [])
    assert f"version {stored.get('router_version', 1)} of the router" in replay["impossible"]


def test_history_exports_as_csv_page_by_page(client: LambdaClient, taught: list[str]) -> None:
    rows: list[dict[str, str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(
            "/api/neural/history", {"limit": 8, **cursor}, headers={"accept": "text/csv"}
        )
        assert page.headers["content-type"].startswith("text/csv")
        rows += csv.DictReader(io.StringIO(page.body))
        if "x-next-cursor" not in page.headers:
            break
        cursor = {"cursor": page.headers["x-next-cursor"]}
    assert [row["decision_id"] for row in rows] == taught[::-1]
    assert {row["score"] for row in rows} == {"0.0", "1.0"}


def test_experiences_come_in_order_and_once(client: LambdaClient, taught: list[str]) -> None:
    seen: list[dict[str, object]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/api/learning/replay", {"limit": 7, **cursor})
        assert page.headers["content-type"].startswith("application/x-ndjson")
        seen += [json.loads(line) for line in page.body.splitlines()]
        if "x-next-cursor" not in page.headers:
            break
        cursor = {"cursor": page.headers["x-next-cursor"]}
    assert [e["decision_id"] for e in seen] == taught
    for e in seen:
        assert sum(e["action_probabilities"]) == pytest.approx(1)  # type: ignore[call-overload]


def test_the_log_folded_again_equals_the_live_state(
    client: LambdaClient, taught: list[str]
) -> None:
    rebuilt = client.post("/api/learning/rebuild").json()
    assert rebuilt["identical"] is True
    assert rebuilt["updates"] == 20
    assert rebuilt["folded_to"] == rebuilt["state_version"]


def test_a_feedback_batch_keeps_the_good_and_explains_the_bad(
    client: LambdaClient, registry: list[str]
) -> None:
    decided = client.post("/api/neural/route", {"prompt": "judge me"}).json()["decision_id"]
    items = [
        {"decision_id": decided, "score": 0.5, "source": "a"},
        {"decision_id": "dec_" + "0" * 32, "score": 1.0},
        {"decision_id": decided, "score": 2.0},
        {"decision_id": decided, "score": 0.9, "source": "a"},
        {"decision_id": decided, "thumbs": "up", "source": "b"},
    ]
    got = client.post("/api/learning/feedback/batch", {"items": items}).json()["items"]
    assert [i["problem"]["status"] if i["problem"] else i["added"] for i in got] == [
        True, 404, 422, 409, True,
    ]  # fmt: skip
    stored = client.get(f"/api/neural/decisions/{decided}").json()["feedback"]
    assert [(f["source"], f["score"]) for f in stored] == [("a", 0.5), ("b", 1.0)]
