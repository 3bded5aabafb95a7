"""Every served decision gets one outcome: also when its process dies, and when two would write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, in_flight, outbox, outcomes, reservations, spend
from tests.fakes.lambda_client import LambdaClient, invoke_worker
from tests.fakes.threads import at_once
from tests.fakes.upstream import FakeUpstream, answer, status
from tests.integration.gateway import CHAT, Books, MakeKey

ROOT = Path(__file__).parents[2]
ASK = {**CHAT, "model": "test/large", "max_tokens": 100}
MOST_NUSD = 2_000 * (len(json.dumps(ASK)) + 100)
CALL = """
import json, sys
from pathlib import Path
from tests.fakes.lambda_client import LambdaClient
client = LambdaClient(Path("template.yaml"), sys.argv[1])
client.post("/v1/chat/completions", json.loads(sys.argv[2]))
print("answered", flush=True)
"""


@pytest.fixture
def books(engine: sa.Engine, registry: list[str]) -> Books:
    return Books(engine)


@contextmanager
def served_meanwhile(
    client: LambdaClient, upstream: FakeUpstream, environment: dict[str, str], body: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield another process while its request waits for the model."""
    called, hold = threading.Event(), threading.Event()

    def stall(handler: Any, request: Any) -> None:
        called.set()
        hold.wait(20)
        answer("late", prompt_tokens=5, completion_tokens=5)(handler, request)

    upstream.behaviours = {"small": stall, "large": stall}
    process = subprocess.Popen(
        [sys.executable, "-c", CALL, str(client.token), json.dumps(body)],
        cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert called.wait(20)
        yield process
        hold.set()
        process.communicate(timeout=20)
    finally:
        hold.set()
        process.kill()
        process.wait()


def overdue(engine: sa.Engine) -> None:
    """Let an hour pass for what is in flight or held."""
    with engine.begin() as connection:
        for table, column in ((in_flight, "outcome_due_at"), (reservations, "expires_at")):
            connection.execute(
                sa.update(table).values(
                    {column: sa.func.clock_timestamp() - sa.text("interval '1 hour'")}
                )
            )


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("has_budget", [False, True])
def test_a_killed_process_leaves_a_decision_that_the_sweep_ends(
    make_key: MakeKey, upstream: FakeUpstream, environment: dict[str, str], engine: sa.Engine,
    books: Books, streamed: bool, has_budget: bool,
) -> None:  # fmt: skip
    more = {"budget": {"usd": 1.0, "window": "month"}} if has_budget else {}
    client = make_key("chat", "read", **more)
    body = {**ASK, "stream": streamed}
    most = 2_000 * (len(json.dumps(body)) + 100)
    with served_meanwhile(client, upstream, environment, body) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert books.rows(outcomes) == [] and len(books.rows(in_flight)) == 1
    assert invoke_worker("gateway", {}) == {"lost": 0, "released": 0}, "it is not overdue yet"
    overdue(engine)
    assert invoke_worker("gateway", {}) == {"lost": 1, "released": 0}
    outcome = books.outcome()
    assert (outcome.status, outcome.error_class) == ("error", "lost")
    # What it may have cost at most, where somebody's budget held it; otherwise nobody knows.
    assert outcome.cost_usd == (most / 1e9 if has_budget else None)
    books.assert_closed()
    (told,) = [e.data for e in books.rows(outbox) if e.detail_type == "OutcomeRecorded"]
    assert told["failed"] == [], "nobody knows whether the model failed"
    assert invoke_worker("gateway", {}) == {"lost": 0, "released": 0}


def test_a_decision_that_nobody_serves_is_not_lost(
    make_key: MakeKey, books: Books, engine: sa.Engine
) -> None:
    client = make_key("route", "read")
    decided = client.post("/api/neural/route", {"prompt": "What is 2 + 2?"})
    assert decided.status == 200
    overdue(engine)
    assert invoke_worker("gateway", {}) == {"lost": 0, "released": 0}
    assert books.rows(outcomes) == []


def test_who_comes_late_writes_nothing_twice(
    make_key: MakeKey, upstream: FakeUpstream, environment: dict[str, str], engine: sa.Engine,
    books: Books,
) -> None:  # fmt: skip
    client = make_key("chat", "read", budget={"usd": 1.0, "window": "month"})
    with served_meanwhile(client, upstream, environment, ASK):
        overdue(engine)
        assert invoke_worker("gateway", {})["lost"] == 1
    # The process went on and answered; its outcome came second.
    assert books.outcome().error_class == "lost"
    assert sum(row.settled_nusd for row in books.rows(spend)) == MOST_NUSD
    books.assert_closed()


def test_sweeps_at_once_share_the_work(
    make_key: MakeKey, upstream: FakeUpstream, environment: dict[str, str], engine: sa.Engine,
    books: Books, many_connections: None,
) -> None:  # fmt: skip
    client = make_key("chat", "read")
    for _ in range(5):
        assert client.post("/v1/chat/completions", CHAT).status == 200
    # As if their processes had died before the outcome.
    with engine.begin() as connection:
        ids = list(connection.scalars(sa.select(decisions.c.id)))
        connection.execute(sa.delete(outcomes))
        connection.execute(sa.delete(outbox).where(outbox.c.detail_type == "OutcomeRecorded"))
        connection.execute(
            sa.insert(in_flight).values(outcome_due_at=sa.func.clock_timestamp()),
            [{"decision_id": i} for i in ids],
        )
    swept = at_once(4, lambda _: invoke_worker("gateway", {}))
    assert sum(s["lost"] for s in swept) == 5
    books.assert_closed()


def test_a_backlog_is_swept_in_batches(
    make_key: MakeKey, upstream: FakeUpstream, engine: sa.Engine, books: Books
) -> None:
    client = make_key("chat", "read")
    client.post("/v1/chat/completions", CHAT)
    columns = ", ".join(c.name for c in decisions.columns if c.name != "id")
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO decisions (id, {columns}) "  # noqa: S608  # names of our columns
                f"SELECT gen_random_uuid(), {columns} FROM decisions, generate_series(1, 250)"
            )
        )
        served = sa.select(outcomes.c.decision_id)
        connection.execute(
            sa.insert(in_flight).from_select(
                ["decision_id", "outcome_due_at"],
                sa.select(decisions.c.id, sa.func.clock_timestamp()).where(
                    decisions.c.id.not_in(served)
                ),
            )
        )
    assert invoke_worker("gateway", {}) == {"lost": 250, "released": 0}
    assert len(books.rows(outcomes)) == 251 and books.rows(in_flight) == []


@pytest.mark.parametrize(
    "behaviour", [answer("4", prompt_tokens=1, completion_tokens=1), status(500), status(400)]
)
def test_when_the_answer_is_out_nothing_is_in_flight(
    make_key: MakeKey, upstream: FakeUpstream, books: Books,
    behaviour: Callable[..., None],
) -> None:  # fmt: skip
    upstream.behaviours = {"small": behaviour, "large": behaviour}
    make_key("chat", "read").post("/v1/chat/completions", CHAT)
    books.assert_closed()
