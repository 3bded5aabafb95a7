"""Health, status, metrics and documents of a running system."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.db.tables import idempotency_keys
from shared.kit.clock import utc_now
from tests.fakes.lambda_client import LambdaClient, invoke_worker
from tests.integration.conftest import TakesAll, process_with

MakeKey = Callable[..., LambdaClient]
SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')


@pytest.fixture
def client(make_key: MakeKey, registry: list[str]) -> LambdaClient:
    return make_key("route", "chat", "feedback", "read")


def on_loopback(client: LambdaClient) -> LambdaClient:
    from dataclasses import replace

    return replace(client, token=None, source_ip="127.0.0.1")


def test_a_healthy_system_says_so(api: LambdaClient) -> None:
    for path in ("/health", "/api/health"):
        answer = api.get(path)
        assert answer.status == 200, answer.body
        assert answer.json()["status"] == "ok"
        assert [c["name"] for c in answer.json()["checks"]] == ["database", "bus", "learner-state"]


def test_events_that_nobody_takes_fail_the_health_check(
    client: LambdaClient, engine: sa.Engine
) -> None:
    client.post("/api/neural/route", {"prompt": "x"})
    assert client.get("/health").status == 200
    with engine.begin() as connection:
        old = utc_now() - timedelta(minutes=11)
        connection.execute(sa.text("UPDATE outbox SET occurred_at = :old"), {"old": old})
    answer = client.get("/health")
    assert answer.status == 503
    (failing,) = [c for c in answer.json()["checks"] if c["status"] == "failing"]
    assert failing["name"] == "bus" and "1 events" in failing["detail"]


def test_a_learner_that_stands_still_fails_the_health_check(
    client: LambdaClient, engine: sa.Engine, takes_all: TakesAll
) -> None:
    client.post("/api/neural/route", {"prompt": "x"})
    invoke_worker("events", {})
    invoke_worker("learning", {"Records": []})
    client.post("/api/neural/route", {"prompt": "x"})
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE outbox SET occurred_at = now() - interval '1 hour'"))
    invoke_worker("events", {})
    failing = [c["name"] for c in client.get("/health").json()["checks"] if c["status"] != "ok"]
    assert failing == ["learner-state"]
    invoke_worker("learning", {"Records": []})
    assert client.get("/health").status == 200


def test_status_counts_what_happened(
    client: LambdaClient, admin: LambdaClient, takes_all: TakesAll
) -> None:
    chat = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
    for level in ("L1", "L1", "L3"):
        assert (
            client.post("/v1/chat/completions", chat, headers={"x-davinci-level": level}).status
            == 200
        )
    admin.patch("/api/models/test/large", {"status": "down"}, headers={"if-match": "*"})
    before = client.get("/api/status").json()
    assert {q["name"]: q["depth"] for q in before["queues"]}["outbox"] == 6
    invoke_worker("events", {})
    invoke_worker("learning", {"Records": []})
    status = client.get("/api/status").json()
    assert {x["level"]: x["requests_24h"] for x in status["levels"]} == {
        "L1": 2,
        "L2": 0,
        "L3": 1,
        "L4": 0,
    }
    assert status["availability_24h"] == 1.0
    assert status["models"] == {"operational": 1, "degraded": 0, "down": 1}
    assert status["policy"] == {"name": "balanced", "version": 1}
    assert {q["depth"] for q in status["queues"]} == {0}


def test_metrics_parse_as_prometheus_text(
    client: LambdaClient, admin: LambdaClient, takes_all: TakesAll
) -> None:
    chat = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
    for _ in range(3):
        client.post("/v1/chat/completions", chat, headers={"x-davinci-level": "L2"})
    invoke_worker("events", {})
    invoke_worker("learning", {"Records": []})
    answer = on_loopback(client).get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.body.endswith("\n")
    kinds: dict[str, str] = {}
    samples: dict[tuple[str, str], float] = {}
    for line in answer.body.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in kinds and kind in {"counter", "gauge"}
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            name, labels, value = match.groups()
            assert name in kinds and (name, labels) not in samples
            samples[name, labels] = float(value)
    assert sum(v for (n, _), v in samples.items() if n == "davinci_decisions_total") == 3
    assert sum(v for (n, _), v in samples.items() if n == "davinci_successes_total") == 3
    assert all(name.endswith("_total") for name, kind in kinds.items() if kind == "counter")
    assert not re.search(r"(dec|key|usr|evt)_[0-9a-f]{8}", answer.body)


def test_metrics_need_loopback_or_the_scrape_token(api: LambdaClient, admin: LambdaClient) -> None:
    assert api.get("/metrics").status == 401
    assert admin.get("/metrics").status == 401
    assert on_loopback(api).get("/metrics").status == 200
    with process_with({"DAVINCI_METRICS_TOKEN": "scrape-me"}):
        assert api.with_token("scrape-me").get("/metrics").status == 200
        for wrong in ("scrape-m", "scrape-mee", "é", ""):
            assert api.with_token(wrong).get("/metrics").status == 401


def test_a_forwarded_address_does_not_make_a_caller_local(api: LambdaClient) -> None:
    headers = {
        "x-forwarded-for": "127.0.0.1",
        "x-real-ip": "127.0.0.1",
        "forwarded": "for=127.0.0.1",
    }
    assert api.get("/metrics", headers=headers).status == 401


def test_documents_are_public(api: LambdaClient) -> None:
    root = api.get("/").json()
    assert root["name"] == "Da Vinci"
    for link in ("docs", "openapi", "health"):
        assert api.get(root["links"][link]).status == 200
    document = json.loads(api.get("/openapi.json").body)
    assert document["openapi"].startswith("3.1")
    assert (
        "<script" in api.get("/docs").body
        and "http" not in api.get("/docs").headers["content-security-policy"]
    )


def test_partitions_are_made_also_for_days_whose_rows_came_early(
    client: LambdaClient, engine: sa.Engine
) -> None:
    """After a week without housekeeping the default partition holds the rows of that day."""
    from shared.db.partitions import ensure_partitions
    from shared.kit.ids import DECISION, parse, uuid7

    decision_id = client.post("/api/neural/route", {"prompt": "x"}).json()["decision_id"]
    later = utc_now() + timedelta(days=40)
    late_id = uuid7(int(later.timestamp() * 1000))
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE decisions SET id = :late WHERE id = :id"),
            {"late": late_id, "id": parse(DECISION, decision_id)},
        )
        assert connection.scalar(sa.text("SELECT count(*) FROM decisions_default")) == 1
    with engine.connect() as connection:
        ensure_partitions(connection, later.date())
        ensure_partitions(connection, later.date())
        partition = f"decisions_p{later:%Y%m%d}"
        assert connection.scalar(sa.select(sa.func.count()).select_from(sa.table(partition))) == 1
        assert connection.scalar(sa.text("SELECT count(*) FROM decisions_default")) == 0
        assert connection.scalar(sa.text("SELECT id FROM decisions")) == late_id
        connection.rollback()


def test_housekeeping_deletes_what_has_expired_and_is_safe_to_repeat(
    admin: LambdaClient, engine: sa.Engine
) -> None:
    key = {"idempotency-key": "once"}
    assert admin.post("/api/keys", {"name": "a", "scopes": ["read"]}, headers=key).status == 201
    long_ago = sa.text("'-infinity'")
    with engine.begin() as connection:
        connection.execute(sa.update(idempotency_keys).values(expires_at=long_ago))
    first = invoke_worker("system", {})
    assert first["expired_idempotency_keys"] == 1
    again = invoke_worker("system", {})
    assert again["expired_idempotency_keys"] == 0
    assert again["partitions_from"] == first["partitions_from"]
