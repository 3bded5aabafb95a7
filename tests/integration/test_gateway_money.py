"""Budgets that hold: what is enforced is what is reported, whoever spends at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, reservations, spend
from shared.kit.ids import uuid7
from shared.providers.client import get_client
from shared.spending.budgets import Budget, read_spend, release_undecided, reserve, settle
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.streaming import DONE, delta, finish, finish_connection, role
from tests.fakes.threads import at_once
from tests.fakes.upstream import FakeUpstream, answer, status, stream
from tests.integration.gateway import CHAT, Books, MakeKey, Reader, outcome_of

ROOT = Path(__file__).parents[2]
# Served by the dearer model, whose tokens cost 2,000 nano-dollars each, in and out.
ASK = {**CHAT, "model": "test/large", "max_tokens": 100}
MOST_NUSD = 2_000 * (len(json.dumps(ASK)) + 100)


@pytest.fixture
def books(engine: sa.Engine, registry: list[str]) -> Books:
    return Books(engine)


@pytest.fixture
def key_with(make_key: MakeKey, registry: list[str]) -> Callable[..., LambdaClient]:
    def make(nusd: int, **more: Any) -> LambdaClient:
        budget = {"usd": nusd / 1e9, "window": "day"}
        return make_key("chat", "read", budget=budget, **more)

    return make


def settled(books: Books) -> int:
    return sum(row.settled_nusd for row in books.rows(spend))


def test_a_budget_is_spent_exactly_and_then_refuses(
    admin: LambdaClient, key_with: Callable[..., LambdaClient], upstream: FakeUpstream, books: Books
) -> None:
    upstream.behaviours["large"] = answer("x", prompt_tokens=50, completion_tokens=50)
    client = key_with(MOST_NUSD + 250_000)
    statuses: list[int] = []
    while len(statuses) < 10:
        served = client.post("/v1/chat/completions", ASK)
        statuses.append(served.status)
        if served.status == 429:
            break
    # Each costs 200,000: after two of them 400,000 are gone, and a third hold no longer fits.
    assert statuses == [200, 200, 429]
    said = served.json()["error"]
    assert said["code"] == "insufficient_quota" and "max_tokens" in said["message"]
    assert settled(books) == 400_000
    assert len(books.rows(decisions)) == 2 and len(upstream.requests) == 2
    books.assert_closed()
    (key,) = admin.get("/api/keys").json()["items"]
    assert (key["spend"]["spent_usd"], key["spend"]["held_usd"]) == (0.0004, 0), "as enforced"
    # Who asks for less may still spend what is left.
    assert client.post("/v1/chat/completions", {**ASK, "max_tokens": 1}).status == 200


def test_the_hold_is_that_of_the_dearest_model_that_may_serve(
    key_with: Callable[..., LambdaClient], upstream: FakeUpstream, books: Books
) -> None:
    held: list[int] = []

    def look(handler: Any, request: Any) -> None:
        held.extend(row.reserved_nusd for row in books.rows(reservations))
        answer("x", prompt_tokens=1, completion_tokens=1)(handler, request)

    upstream.behaviours = {"small": look, "large": look}
    body = {**CHAT, "max_tokens": 100}
    assert key_with(10**9).post("/v1/chat/completions", body).status == 200
    assert held == [2_000 * (len(json.dumps(body)) + 100)]
    books.assert_closed()


@pytest.mark.parametrize(
    ("behaviour", "streamed", "expected"),
    [
        (answer("x", prompt_tokens=7, completion_tokens=9), False, 16 * 2_000),
        (answer("x", prompt_tokens=7, completion_tokens=9), True, 16 * 2_000),
        (status(503), False, 0),
        (status(400), False, 0),
        (status(503), True, 0),
        # Cut without usage: the prompt by our count (4 tokens), and the one token that came.
        (stream(role(), delta("Two "), finish_connection), True, 5 * 2_000),
    ],
)
def test_however_a_request_ends_its_hold_becomes_its_cost(
    key_with: Callable[..., LambdaClient], upstream: FakeUpstream, books: Books, behaviour: Any,
    streamed: bool, expected: int,
) -> None:  # fmt: skip
    upstream.behaviours["large"] = behaviour
    key_with(10**9).post("/v1/chat/completions", {**ASK, "stream": streamed})
    assert settled(books) == expected
    books.assert_closed()


def test_a_client_that_leaves_pays_for_what_came(
    key_with: Callable[..., LambdaClient], upstream: FakeUpstream, books: Books
) -> None:
    upstream.behaviours["large"] = stream(role(), delta("Two "), delta("more "), finish(), DONE)
    token = str(key_with(10**9).token)
    Reader(token, leave_after=2).post("/v1/chat/completions", {**ASK, "stream": True})
    assert settled(books) > 4 * 2_000
    books.assert_closed()


def test_a_request_that_is_refused_holds_nothing(
    key_with: Callable[..., LambdaClient], admin: LambdaClient, books: Books
) -> None:
    client = key_with(10**9)
    assert client.post("/v1/chat/completions", {**ASK, "model": "no/such"}).status == 404
    change = {"output_usd_per_mtok": None}
    admin.patch("/api/models/test/large", change, headers={"if-match": "*"})
    unpriced = client.post("/v1/chat/completions", ASK)
    assert unpriced.status == 400 and "no known price" in unpriced.json()["error"]["message"]
    assert books.rows(spend) == [] and books.rows(reservations) == []
    # The others serve, and no fallback leads to what cannot be held.
    served = client.post("/v1/chat/completions", {**CHAT, "max_tokens": 10})
    assert served.status == 200 and served.headers["x-davinci-model"] == "test/small"


def test_requests_at_once_never_hold_more_than_the_budget(
    key_with: Callable[..., LambdaClient], upstream: FakeUpstream, books: Books,
    many_connections: None,
) -> None:  # fmt: skip
    fits, asked = 4, 12
    refused, go, lock = [0], threading.Event(), threading.Lock()

    def wait(handler: Any, request: Any) -> None:
        go.wait(20)  # until everybody else was refused
        answer("x", prompt_tokens=50, completion_tokens=50)(handler, request)

    upstream.behaviours["large"] = wait
    client = key_with(fits * MOST_NUSD)
    get_client()  # one for all, as a host that has threads makes it at its start

    def post(_index: int) -> int:
        code = client.post("/v1/chat/completions", ASK).status
        with lock:
            refused[0] += code == 429
            if refused[0] == asked - fits:
                go.set()
        return code

    statuses = at_once(asked, post)
    assert statuses.count(200) == fits and statuses.count(429) == asked - fits
    assert settled(books) == fits * 200_000
    books.assert_closed()


def test_processes_at_once_never_spend_more_than_the_budget(
    database_url: str, engine: sa.Engine, clean_database: None
) -> None:
    limit = 100_000
    command = [sys.executable, "-m", "tests.integration.spending_worker", database_url]
    workers = [
        subprocess.Popen(
            [*command, str(limit), "150", str(seed)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seed in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    reports = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        out, _ = worker.communicate(timeout=60)
        reports.append([int(word) for word in out.split()])
    with engine.connect() as connection:
        spent = read_spend(connection, {"key_shared": "total"})["key_shared"]
        assert connection.execute(sa.select(reservations)).all() == []
    assert spent.reserved_nusd == 0
    assert spent.settled_nusd == sum(report[0] for report in reports) <= limit
    assert sum(report[1] for report in reports) > 0, "the budget was never reached"
    assert spent.settled_nusd > limit - 4 * 1_000


@pytest.fixture
def connection(engine: sa.Engine, clean_database: None) -> Any:
    with engine.begin() as connection:
        yield connection


DAILY = Budget("key_1", "day", 1_000)


def test_a_hold_is_settled_once(connection: sa.Connection) -> None:
    decision = uuid7()
    assert reserve(connection, decision, DAILY, 600, 60)
    assert settle(connection, decision, 100)
    assert not settle(connection, decision, 100)
    spent = read_spend(connection, {"key_1": "day"})["key_1"]
    assert (spent.reserved_nusd, spent.settled_nusd) == (0, 100)


def test_what_cannot_be_known_is_settled_at_the_most_it_can_be(connection: sa.Connection) -> None:
    decision = uuid7()
    assert reserve(connection, decision, DAILY, 600, 60)
    assert settle(connection, decision, None)
    assert read_spend(connection, {"key_1": "day"})["key_1"].settled_nusd == 600


@pytest.mark.parametrize("amounts", [[1_001], [1_000, 1], [600, 401], [0, 1_000, 1]])
def test_the_last_that_does_not_fit_is_refused_and_leaves_no_trace(
    connection: sa.Connection, amounts: list[int]
) -> None:
    verdicts = [reserve(connection, uuid7(), DAILY, amount, 60) for amount in amounts]
    assert verdicts == [True] * (len(amounts) - 1) + [False]
    spent = read_spend(connection, {"key_1": "day"})["key_1"]
    assert spent.reserved_nusd == sum(amounts[:-1])


def test_subjects_and_windows_have_money_of_their_own(connection: sa.Connection) -> None:
    for window in ("day", "month", "total"):
        budget = Budget(f"key_{window}", window, 1_000)
        assert reserve(connection, uuid7(), budget, 1_000, 60)
    found = read_spend(connection, {"key_day": "day", "key_month": "month", "key_total": "total",
                                    "key_none": "day"})  # fmt: skip
    assert [found[f"key_{w}"].reserved_nusd for w in ("day", "month", "total", "none")] == [
        1_000, 1_000, 1_000, 0,
    ]  # fmt: skip
    assert found["key_month"].window_start.day == 1
    assert found["key_total"].window_start.year == 1970
    assert read_spend(connection, {}) == {}


def test_a_new_window_begins_at_nothing(connection: sa.Connection) -> None:
    assert reserve(connection, uuid7(), DAILY, 1_000, 60)
    yesterday = "UPDATE {} SET window_start = window_start - interval '1 day'"
    for table in ("spend", "reservations"):
        connection.execute(sa.text(yesterday.format(table)))
    assert reserve(connection, uuid7(), DAILY, 1_000, 60)


def test_a_hold_whose_decision_was_never_written_is_given_back(connection: sa.Connection) -> None:
    dead, alive = uuid7(), uuid7()
    assert reserve(connection, dead, DAILY, 400, -1)
    assert reserve(connection, alive, DAILY, 400, 60)
    assert release_undecided(connection, 10) == 1
    spent = read_spend(connection, {"key_1": "day"})["key_1"]
    assert (spent.reserved_nusd, spent.settled_nusd) == (400, 0)
    (row,) = connection.execute(sa.select(reservations.c.decision_id))
    assert row.decision_id == UUID(str(alive))


def test_tokens_per_minute_admit_what_is_expected_and_charge_what_was_used(
    make_key: MakeKey, registry: list[str], upstream: FakeUpstream, books: Books
) -> None:
    upstream.behaviours["large"] = answer("x", prompt_tokens=500, completion_tokens=400)
    client = make_key("chat", "read", tpm=1_000)
    first = client.post("/v1/chat/completions", {**ASK, "max_tokens": 50})
    assert first.status == 200  # about 54 were expected, 900 used
    second = client.post("/v1/chat/completions", {**ASK, "max_tokens": 300})
    assert second.status == 429
    assert second.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(second.headers["retry-after"]) > 0
    assert len(upstream.requests) == 1
    assert outcome_of(client, first)["tokens_in"] == 500
    books.assert_closed()


def test_tokens_that_were_not_used_are_given_back(
    make_key: MakeKey, registry: list[str], upstream: FakeUpstream
) -> None:
    upstream.behaviours["large"] = answer("x", prompt_tokens=1, completion_tokens=1)
    client = make_key("chat", "read", tpm=1_000)
    for _ in range(4):
        # Each expects most of a minute's tokens.
        assert client.post("/v1/chat/completions", {**ASK, "max_tokens": 900}).status == 200
