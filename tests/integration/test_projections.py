"""Folding twice is folding once, and folding again from zero gives the same to the last bit."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import learner_states, projections, rollups
from shared.events.contracts import FeedbackRecordedV1, NeuralRouteCompletedV1, OutcomeRecordedV1
from shared.events.outbox import add_event
from shared.events.relay import number_committed
from shared.kit.clock import utc_now
from shared.kit.ids import DECISION, to_text, uuid7
from shared.projections import learner
from shared.projections import rollups as rollup_projection
from shared.projections.runner import advance
from tests.fakes.lambda_client import LambdaClient, invoke_worker
from tests.fakes.threads import at_once
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import TakesAll

Rows = list[Any]


@pytest.fixture
def log(engine: sa.Engine, environment: dict[str, str], clean_database: None) -> sa.Engine:
    """60 decisions over two hours with amounts that no binary fraction is."""
    rng, now_ms = random.Random(3), int(utc_now().timestamp() * 1000)
    with engine.begin() as connection:
        for _ in range(60):
            at_ms = now_ms - rng.randrange(7_200_000)
            about: dict[str, Any] = {
                "decision_id": to_text(DECISION, uuid7(at_ms)),
                "level": rng.choice(["L1", "L2"]),
                "model": rng.choice(["a", "b"]),
                "policy_version_id": "019ab3c4-d5e6-7f80-91a2-b3c4d5e6f708",
                "track": "stable",
            }
            propensity = rng.choice([0.1, 0.3, 0.7])
            add_event(connection, NeuralRouteCompletedV1(
                **about, task_type=None, policy_name="p", policy_version=1, propensity=propensity,
                explored=rng.random() < 0.2, exploration_usd=rng.random() / 1e5, caller="c",
            ), utc_now())  # fmt: skip
            succeeded = rng.random() < 0.9
            add_event(connection, OutcomeRecordedV1(
                **about, served_by=about["model"], failed=[],
                status="success" if succeeded else "error",
                error_class=None if succeeded else "timeout", latency_ms=rng.random() * 3_000,
                tokens_in=3, tokens_out=4, cost_usd=rng.random() / 1e4 if succeeded else None,
            ), utc_now())  # fmt: skip
            if rng.random() < 0.7:
                add_event(connection, FeedbackRecordedV1(
                    **about, served_by=about["model"], feedback_source="s", score=rng.random(),
                    reward_usd=rng.random() / 1e3, propensity=propensity,
                ), utc_now())  # fmt: skip
        number_committed(connection)
    return engine


def read_rollups(engine: sa.Engine) -> Rows:
    with engine.connect() as connection:
        order = list(rollups.primary_key.columns)
        return [tuple(row) for row in connection.execute(sa.select(rollups).order_by(*order))]


def start_over(engine: sa.Engine, *tables: sa.Table) -> None:
    with engine.begin() as connection:
        for table in (projections, *tables):
            connection.execute(sa.delete(table))


def fold(engine: sa.Engine, batch: int) -> int:
    return advance(engine, rollup_projection.NAME, rollup_projection.fold_rollups, batch)


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_a_rebuild_equals_the_increments_exactly(log: sa.Engine, batch: int) -> None:
    n = fold(log, batch)
    incremental = read_rollups(log)
    assert n > 120 and len(incremental) > 8
    start_over(log, rollups)
    assert fold(log, 2_000) == n
    assert read_rollups(log) == incremental


def test_folding_twice_is_folding_once(log: sa.Engine) -> None:
    assert fold(log, 50) > 0
    once = read_rollups(log)
    assert fold(log, 50) == 0
    assert read_rollups(log) == once


def test_two_workers_at_once_fold_each_event_once(log: sa.Engine) -> None:
    results = at_once(3, lambda _: fold(log, 5))
    twice = read_rollups(log)
    start_over(log, rollups)
    assert fold(log, 2_000) == sum(results)
    assert read_rollups(log) == twice


def test_a_fold_that_fails_moves_no_watermark(log: sa.Engine) -> None:
    def broken(connection: sa.Connection, events: Any, watermark: int) -> None:
        rollup_projection.fold_rollups(connection, events, watermark)
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError, match="killed here"):
        advance(log, rollup_projection.NAME, broken, 50)
    assert read_rollups(log) == []
    assert fold(log, 50) > 0


def test_an_event_that_no_projection_knows_moves_the_watermark_only(log: sa.Engine) -> None:
    n = fold(log, 2_000)
    before = read_rollups(log)
    with log.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO outbox"
                " (event_id, sequence, source, detail_type, version, occurred_at, data)"
                " VALUES (gen_random_uuid(), :n, 'x', 'Unheard', 1, now(), '{}')"
            ),
            {"n": n + 1},
        )
    assert fold(log, 2_000) == 1
    assert read_rollups(log) == before


def test_the_learners_state_is_the_same_when_folded_again(
    make_key: Any, registry: list[str], upstream: FakeUpstream, engine: sa.Engine,
    takes_all: TakesAll,
) -> None:  # fmt: skip
    client: LambdaClient = make_key("chat", "feedback")
    rng = random.Random(5)
    for n in range(20):
        body = {"model": "auto", "messages": [{"role": "user", "content": f"Question {n}?"}]}
        sent = client.post("/v1/chat/completions", body, headers={"x-davinci-task": "math"})
        client.post(
            "/api/learning/feedback",
            {"decision_id": sent.headers["x-davinci-decision-id"], "score": rng.random()},
        )
        if n % 6 == 0:
            invoke_worker("events", {})
            invoke_worker("learning", {"Records": []})
    invoke_worker("events", {})
    invoke_worker("learning", {"Records": []})

    def newest() -> Any:
        columns = sa.select(
            learner_states.c.version, learner_states.c.state, learner_states.c.updates
        )
        with engine.connect() as connection:
            return connection.execute(
                columns.order_by(learner_states.c.version.desc()).limit(1)
            ).one()

    incremental = newest()
    assert incremental.version == 60 and incremental.updates == 40
    start_over(engine, learner_states)
    advance(engine, learner.NAME, learner.fold_learner)
    assert newest() == incremental
    start_over(engine, learner_states)
    advance(engine, learner.NAME, learner.fold_learner, batch=1)
    assert newest() == incremental
