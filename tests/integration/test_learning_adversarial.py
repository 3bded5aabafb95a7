"""Feedback that comes late, twice, from nowhere, under a wrong clock or for a strange prompt."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, feedback, learner_states, projections
from shared.projections import learner
from shared.projections.runner import advance
from tests.fakes.lambda_client import LambdaClient, invoke_worker
from tests.integration.conftest import TakesAll

PROMPTS = {
    "blank": " ",
    "28 kB": "a long story. " * 2_000,
    "emoji": "🔥👩‍👩‍👧‍👦" * 20,
    "Korean": "안녕하세요, 파이썬으로 정렬 함수를 작성해 주세요.",
}


@pytest.fixture
def client(
    make_key: Callable[..., LambdaClient], registry: list[str], takes_all: TakesAll
) -> LambdaClient:
    return make_key("route", "feedback", "read")


def decide(client: LambdaClient, prompt: str = "What is 2 + 2?") -> str:
    answer = client.post("/api/neural/route", {"prompt": prompt})
    assert answer.status == 200, answer.body
    return str(answer.json()["decision_id"])


def judge(client: LambdaClient, decision_id: str, **judgement: Any) -> Any:
    return client.post("/api/learning/feedback", {"decision_id": decision_id, **judgement})


def learn() -> None:
    invoke_worker("events", {})
    invoke_worker("learning", {"Records": []})


def newest_state(engine: sa.Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(
            sa.select(learner_states.c.state, learner_states.c.updates)
            .order_by(learner_states.c.version.desc())
            .limit(1)
        ).one()


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_a_strange_prompt_is_decided_judged_and_learned_from(
    client: LambdaClient, engine: sa.Engine, prompt: str
) -> None:
    assert judge(client, decide(client, prompt), score=1).status == 201
    learn()
    assert newest_state(engine).updates == 1


def test_a_prompt_that_no_model_can_hold_is_refused_by_name_and_leaves_nothing(
    client: LambdaClient, engine: sa.Engine
) -> None:
    refused = client.post("/api/neural/route", {"prompt": "a long story. " * 15_000})
    assert refused.status == 422
    assert "context length" in refused.json()["detail"]
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(decisions)) == 0


def test_feedback_after_three_years_counts_like_any_other(
    client: LambdaClient, engine: sa.Engine
) -> None:
    decision_id = decide(client)
    with engine.begin() as connection:
        connection.execute(
            sa.update(decisions).values(created_at=decisions.c.created_at - timedelta(days=1_100))
        )
    assert judge(client, decision_id, score=1).status == 201
    learn()
    assert newest_state(engine).updates == 1


def test_a_repeated_judgement_is_learned_once(client: LambdaClient, engine: sa.Engine) -> None:
    decision_id = decide(client)
    assert [judge(client, decision_id, score=0.5).status for _ in range(5)] == [201] + [200] * 4
    learn()
    learn()
    assert newest_state(engine).updates == 1


def test_refused_feedback_leaves_nothing_to_learn(client: LambdaClient, engine: sa.Engine) -> None:
    decision_id = decide(client)
    assert judge(client, "dec_" + "0" * 32, score=1).status == 404
    assert judge(client, decision_id, score=float("nan")).status == 422
    learn()
    with engine.connect() as connection:
        states = connection.execute(sa.select(learner_states.c.updates)).scalars().all()
    assert not any(states)


def test_a_clock_that_runs_backwards_leads_to_the_same_state_when_folded_again(
    client: LambdaClient, engine: sa.Engine
) -> None:
    rng = random.Random(7)
    for _ in range(12):
        judge(client, decide(client), score=rng.random())
    with engine.begin() as connection:
        rows = connection.execute(sa.select(feedback.c.id, feedback.c.created_at)).all()
        for row in rows:
            shifted = row.created_at - timedelta(hours=rng.randrange(2_000))
            connection.execute(
                sa.update(feedback).where(feedback.c.id == row.id).values(created_at=shifted)
            )
    learn()
    incremental = newest_state(engine)
    assert incremental.updates == 12
    with engine.begin() as connection:
        connection.execute(sa.delete(projections))
        connection.execute(sa.delete(learner_states))
    advance(engine, learner.NAME, learner.fold_learner, batch=5)
    assert newest_state(engine) == incremental
