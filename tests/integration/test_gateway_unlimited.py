"""A gateway without rate limits: nothing keeps a model waiting for the decision to be written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, outcomes, rate_limits
from tests.fakes.upstream import FakeUpstream
from tests.integration.container import container_with
from tests.integration.gateway import CHAT, STREAM, Books, MakeKey

PATH = "/v1/chat/completions"
UNLIMITED = {f"DAVINCI_RATE_LIMIT_{whose}_PER_MINUTE": "0" for whose in ("GLOBAL", "CALLER")}
WAIT_S, MOMENT_S = 8.0, 0.3
_BLOCKED = sa.text(
    "SELECT pid FROM pg_stat_activity "
    "WHERE wait_event_type = 'Lock' AND query LIKE ANY ('{%decisions(%,%outcomes(%}')"
)

Post = Callable[[dict[str, Any]], Future[httpx.Response]]


@pytest.fixture
def books(engine: sa.Engine, registry: list[str]) -> Books:
    return Books(engine)


@contextmanager
def posting(make_key: MakeKey, settings: dict[str, str], **key: Any) -> Iterator[Post]:
    """Yield what posts to the service in another thread."""
    with container_with(settings) as url, ThreadPoolExecutor(4) as pool:
        headers = {"authorization": f"Bearer {make_key('chat', 'read', **key).token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
            # From here on the process knows the key.
            assert client.get("/v1/models").status_code == 200
            yield lambda body: pool.submit(client.post, PATH, json=body)


@contextmanager
def held(engine: sa.Engine, table: sa.Table = decisions) -> Iterator[None]:
    """Let nothing be written to ``table`` meanwhile."""
    with engine.connect() as holder:
        holder.execute(sa.text(f"LOCK TABLE {table.name} IN SHARE MODE"))
        yield
        holder.rollback()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def blocked(engine: sa.Engine) -> list[int]:
    with engine.connect() as watcher:
        return list(watcher.scalars(_BLOCKED))


def test_the_model_is_called_while_the_decision_is_written_and_answers_after_it(
    make_key: MakeKey, books: Books, upstream: FakeUpstream
) -> None:
    with posting(make_key, UNLIMITED) as post:
        with held(books.engine):
            call = post(CHAT)
            until(lambda: upstream.requests)
            time.sleep(MOMENT_S)
            assert not call.done() and books.rows(outcomes) == []
        answer = call.result(WAIT_S)
    assert answer.status_code == 200
    (decision,) = books.rows(decisions)
    assert answer.headers["x-davinci-decision-id"] == f"dec_{decision.id.hex}"
    books.assert_closed()


def test_a_decision_that_has_not_left_the_process_is_waited_for(
    make_key: MakeKey, books: Books, upstream: FakeUpstream
) -> None:
    with posting(make_key, UNLIMITED) as post:
        with held(books.engine):
            calls = [post(CHAT)]
            until(lambda: upstream.requests)
            calls += [post(CHAT), post(CHAT)]  # these go with the next statement
            time.sleep(MOMENT_S)
            assert len(upstream.requests) == 1
        assert [call.result(WAIT_S).status_code for call in calls] == [200] * 3
    books.assert_closed()


def test_an_answer_does_not_leave_before_its_outcome_is_written(
    make_key: MakeKey, books: Books, upstream: FakeUpstream
) -> None:
    with posting(make_key, UNLIMITED) as post:
        with held(books.engine, outcomes):
            call = post(CHAT)
            until(lambda: blocked(books.engine))
            time.sleep(MOMENT_S)
            assert len(upstream.requests) == 1 and not call.done()
        assert call.result(WAIT_S).status_code == 200
    books.assert_closed()


@pytest.mark.parametrize(
    ("settings", "body", "key"),
    [
        ({}, CHAT, {}),
        ({**UNLIMITED, "DAVINCI_RATE_LIMIT_GLOBAL_PER_MINUTE": "9"}, CHAT, {}),
        (UNLIMITED, CHAT, {"rpm": 9}),
        (UNLIMITED, {**CHAT, "max_tokens": 9}, {"budget": {"usd": 1.0, "window": "day"}}),
        (UNLIMITED, STREAM, {}),
    ],
    ids=["limits", "limit of all", "limit of the key", "budget", "stream"],
)  # fmt: skip
def test_whatever_else_hangs_on_the_decision_waits_for_it(
    make_key: MakeKey, books: Books, upstream: FakeUpstream, settings: dict[str, str],
    body: dict[str, Any], key: dict[str, Any],
) -> None:  # fmt: skip
    with posting(make_key, settings, **key) as post:
        with held(books.engine):
            call = post(body)
            until(lambda: blocked(books.engine))
            time.sleep(MOMENT_S)
            assert upstream.requests == []
        assert call.result(WAIT_S).status_code == 200
    books.assert_closed()


def test_without_the_decision_no_answer_leaves_and_the_next_request_waits_for_its_own(
    make_key: MakeKey, books: Books, upstream: FakeUpstream
) -> None:
    with posting(make_key, UNLIMITED) as post:
        with held(books.engine):
            call = post(CHAT)
            until(lambda: upstream.requests and blocked(books.engine))
            with books.engine.connect() as other:
                other.execute(sa.select(sa.func.pg_cancel_backend(blocked(books.engine)[0])))
            refused = call.result(WAIT_S)
            assert refused.status_code == 503, refused.text
            assert "x-davinci-decision-id" not in refused.headers
            assert books.rows(decisions) == books.rows(outcomes) == []

            upstream.requests.clear()
            call = post(CHAT)
            until(lambda: blocked(books.engine))
            time.sleep(MOMENT_S)
            assert upstream.requests == [], "nobody pays again for what may not be written"
        assert call.result(WAIT_S).status_code == 200
        upstream.requests.clear()
        with held(books.engine):
            call = post(CHAT)
            until(lambda: upstream.requests)
        assert call.result(WAIT_S).status_code == 200
    books.assert_closed()


def test_what_has_left_a_process_that_dies_is_written(books: Books, database_url: str) -> None:
    dies = (
        "import os, sys, sqlalchemy as sa\n"
        "from shared.config import Settings\n"
        "from shared.db.calls import Call\n"
        "from shared.db.engine import create_engine\n"
        "engine = create_engine(Settings.model_validate({'DATABASE_URL': sys.argv[1]}))\n"
        "insert = Call('INSERT INTO rate_limits VALUES (%s, 0) RETURNING id', ('sent',))\n"
        "insert.alone(engine, lambda: os.kill(os.getpid(), 9))\n"
    )
    ids = sa.select(rate_limits.c.id)
    with held(books.engine, rate_limits):
        died = subprocess.run([sys.executable, "-c", dies, database_url], check=False)
        assert died.returncode == -signal.SIGKILL
        with books.engine.connect() as connection:
            assert "sent" not in connection.scalars(ids).all(), "the database waits for the lock"
    until(lambda: "sent" in {row.id for row in books.rows(rate_limits)})


@pytest.mark.parametrize("key", [{}, {"rpm": 9}])
def test_no_limit_is_no_bucket_and_no_header(
    make_key: MakeKey, books: Books, key: dict[str, Any]
) -> None:
    with posting(make_key, UNLIMITED, **key) as post:
        with books.engine.begin() as connection:
            connection.execute(sa.delete(rate_limits))  # of those who made the key
        answer = post(CHAT).result(WAIT_S)
        assert answer.status_code == 200
        limits = [value for name, value in answer.headers.items() if name == "x-ratelimit-limit"]
        buckets = [row.id.partition(":key_")[0] for row in books.rows(rate_limits)]
    assert (limits, buckets) == ((["9"], ["default"]) if key else ([], []))
